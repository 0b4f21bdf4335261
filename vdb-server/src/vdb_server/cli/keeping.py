"""The commands that keep data: ``export``, ``backup``, ``restore``, ``check``, ``repair``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations when the command runs
from typing import Annotated

import typer

from vdb_server.cli.options import AsJson, DataDir, LibraryArgument, Url, command
from vdb_server.cli.output import line, print_json, table

__all__ = ["add_to"]

Libraries = Annotated[
    list[str] | None,
    typer.Option("--library", help="Only this library; may be given several times. Default: every one."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for function in (export, backup, restore, check, repair):
        app.command()(function)


@command
def export(
    library: LibraryArgument,
    file: Annotated[Path, typer.Argument(help="The archive (.tar) to write; it must not exist yet.")],
    *,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a library into an archive, as of one revision, while writes go on. `vdb import` takes it back."""
    from vdb_server.cli.backups import export_archive
    from vdb_server.cli.target import open_target

    with open_target(url, data_dir) as target:
        saved = export_archive(target, library, file)
    if as_json:
        print_json(saved)
    else:
        line(f"{saved['chunks']} chunks at revision {saved['revision']}, {saved['bytes']} bytes")


@command
def backup(
    destination: Annotated[
        Path, typer.Argument(help="The directory to write; it must not exist yet.", metavar="DEST")
    ],
    library: Libraries = None,
    *,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write an archive of each library, each as of one revision, while writes go on. Reading rights are enough."""
    from vdb_server.cli.backups import back_up
    from vdb_server.cli.target import open_target

    with open_target(url, data_dir) as target:
        manifest = back_up(target, destination, library)
    if as_json:
        print_json(manifest)
        return
    _table(manifest["libraries"])


@command
def restore(
    source: Annotated[
        Path, typer.Argument(help="A directory that `vdb backup` wrote.", metavar="SRC", exists=True)
    ],
    library: Libraries = None,
    *,
    build: Annotated[
        bool, typer.Option("--build", help="Build the indexes afterwards, and wait; exact until then.")
    ] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring libraries back from a backup. Everything is verified before anything is changed; nothing is replaced."""
    from vdb_server.cli.restoring import read_backup, restore_all
    from vdb_server.cli.target import open_target

    saved = read_backup(source, library)
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
    with open_target(url, data_dir) as target:
        restored = restore_all(target, source, saved, build=build)
    if as_json:
        print_json(restored)
        return
    _table(restored)


@command
def check(
    directory: Annotated[
        Path, typer.Argument(help="The data directory; no server may have it open.", metavar="DIR")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Verify every checksum of a data directory and whether it would open; changes nothing.

    Ends with 0 where all is well, 3 where something is damaged and nothing would be lost, 4 where something would be.
    """
    from vdb_server.cli.maintenance import check_data

    raise typer.Exit(check_data(directory, as_json=as_json))


@command
def repair(
    directory: Annotated[
        Path, typer.Argument(help="The data directory; no server may have it open.", metavar="DIR")
    ],
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without it, only say what would be done.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="With --yes: also do what gives up writes that cannot be saved."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a damaged data directory openable. What is replaced is kept under _quarantine/.

    Ends with 0 where all is well afterwards, 3 where something is to be done, 4 where something stays unavailable.
    """
    from vdb_server.cli.maintenance import repair_data

    raise typer.Exit(repair_data(directory, dry_run=not yes, accept_loss=accept_loss, as_json=as_json))


def _table(libraries: list[dict[str, object]]) -> None:
    columns = ("id", "revision", "metric", "dimension", "documents", "chunks", "bytes")
    table(columns, [[one[name] for name in columns] for one in libraries])
