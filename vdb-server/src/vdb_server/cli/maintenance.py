"""``vdb check`` and ``vdb repair``: what they print, and how they end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vdb_core.errors import VdbError
from vdb_core.maintenance import check_directory, plan_repair
from vdb_server.cli.output import Failure, line, print_json, progress, table, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from vdb_core.maintenance import CheckReport, Repair

__all__ = ["check_data", "repair_data"]

_SOUND: Final = 0
_DAMAGED: Final = 3
_UNAVAILABLE: Final = 4
_CODES: Final = {None: _SOUND, "note": _SOUND, "warning": _DAMAGED, "error": _UNAVAILABLE}
_SUMMARY: Final = {
    _SOUND: "sound",
    _DAMAGED: "damaged, and nothing would be lost: a start, or vdb repair, mends it",
    _UNAVAILABLE: "damaged, and not all of it would open: see vdb repair",
}


def check_data(directory: Path, *, as_json: bool) -> int:
    """Check a directory and print what was found; gives the exit code."""
    with _told(), _reporting("checking") as report:
        found = check_directory(directory, report=report)
    code = _CODES[found.worst]
    if as_json:
        print_json({**found.to_json(), "result": _SUMMARY[code].partition(",")[0], "exit_code": code})
    else:
        _print_report(found)
        line(f"{directory} is {_SUMMARY[code]}")
    return code


def repair_data(directory: Path, *, dry_run: bool, accept_loss: bool, as_json: bool) -> int:
    """Say what would repair a directory, or do it; gives the exit code."""
    with _told(), _reporting("checking") as report:
        opened = plan_repair(directory, writing=not dry_run, report=report)
        with opened as repair:
            return _repair(repair, dry_run=dry_run, accept_loss=accept_loss, as_json=as_json)


def _repair(repair: Repair, *, dry_run: bool, accept_loss: bool, as_json: bool) -> int:
    losing = [one for one in repair.actions if one.loses]
    if not dry_run and losing and not accept_loss:
        _print_plan(repair)
        raise Failure(
            "this gives up writes that cannot be saved, as said above; add --accept-loss to do it. Nothing was done."
        )
    if dry_run:
        if as_json:
            print_json({**repair.to_json(), "done": False})
        else:
            _print_plan(repair)
            if repair.actions:
                line("nothing was done; add --yes to do it" + (" (and --accept-loss)" if losing else ""))
        return (
            _UNAVAILABLE if repair.hopeless and not repair.actions else _DAMAGED if repair.actions else _SOUND
        )
    after = repair.apply()
    code = _UNAVAILABLE if after.worst == "error" or repair.hopeless else _SOUND
    if as_json:
        print_json({**repair.to_json(), "done": True, "after": after.to_json()})
    else:
        _print_plan(repair)
        _print_report(after)
    return code


def _print_plan(repair: Repair) -> None:
    if not repair.actions and not repair.hopeless:
        line("there is nothing to repair")
        return
    if repair.actions:
        rows = [(one.place, one.text, one.loses or "nothing") for one in repair.actions]
        table(("where", "what", "loses"), rows)
    for place, why in repair.hopeless.items():
        warn(f"vdb: {place} cannot be repaired: {why}")


def _print_report(found: CheckReport) -> None:
    rows = [
        (
            one.id,
            "opens" if one.opens else "does not open",
            one.revision,
            one.documents,
            one.chunks,
            one.index_type,
            ", ".join(
                f"{each.generation}{'' if each.problem is None else ' (damaged)'}" for each in one.generations
            ),
            one.journal_entries,
        )
        for one in found.libraries
    ]
    columns = ("library", "state", "revision", "documents", "chunks", "index", "generations", "journal")
    table(columns, rows)
    if found.findings:
        table(("severity", "where", "what"), [(one.severity, one.place, one.text) for one in found.findings])


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except VdbError as error:
        raise Failure(str(error)) from error


@contextmanager
def _reporting(what: str) -> Generator[Callable[[float, str], None]]:
    with progress(what, 1.0) as report:
        yield lambda done, name: report(done, what=f"{what} {name}")
