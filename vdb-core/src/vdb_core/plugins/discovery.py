"""Finds the entry points of installed distributions without importing anything of them."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUP", "Candidate", "candidate_of", "installed", "normalized"]

GROUP: Final = "vdb.plugins"
"""The entry-point group of vdb."""

_UNKNOWN: Final = "an unknown distribution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plugin that is installed and was not imported yet."""

    name: str
    """The name of the entry point."""

    distribution: str
    """The distribution that brings it."""

    version: str | None
    """The version of that distribution."""

    module: str
    """What the entry point names."""

    entry_point: importlib.metadata.EntryPoint | None
    """How to load it; ``None`` where the distribution's ``entry_points.txt`` cannot be read."""

    problem: str = ""
    """Why there is no entry point."""


def normalized(name: str) -> str:
    """Spell the name of a distribution or entry point the one way in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def candidate_of(entry_point: importlib.metadata.EntryPoint) -> Candidate:
    """Describe an entry point; tolerates one without a distribution."""
    distribution = getattr(entry_point, "dist", None)
    name, version = _identity(distribution) if distribution is not None else (_UNKNOWN, None)
    return Candidate(
        name=entry_point.name,
        distribution=name,
        version=version,
        module=entry_point.value,
        entry_point=entry_point,
    )


def installed() -> Iterator[Candidate]:
    """Iterate over what every installed distribution offers in the group, in no particular order.

    Each distribution is read on its own: ``importlib.metadata.entry_points`` fails as a whole where a single
    ``entry_points.txt`` is malformed. Of a distribution that is installed twice, the one first on the path counts.
    """
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        name, version = _identity(distribution)
        key = normalized(name)
        if name != _UNKNOWN and key in seen:
            continue
        seen.add(key)
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if GROUP not in text:
                continue
            entry_points = [entry for entry in distribution.entry_points if entry.group == GROUP]
        # Whatever is wrong with a stranger's metadata, it is reported and the others are still found.
        except Exception as error:  # noqa: BLE001
            yield Candidate(
                name=name,
                distribution=name,
                version=version,
                module="",
                entry_point=None,
                problem=f"its entry_points.txt cannot be read ({type(error).__name__}: {error})",
            )
            continue
        for entry_point in entry_points:
            yield Candidate(
                name=entry_point.name,
                distribution=name,
                version=version,
                module=entry_point.value,
                entry_point=entry_point,
            )


def _identity(distribution: importlib.metadata.Distribution) -> tuple[str, str | None]:
    try:
        metadata = distribution.metadata
        name, version = metadata["Name"], metadata["Version"]
    # A folder without METADATA, or with a damaged one, still may carry entry points.
    except Exception:  # noqa: BLE001
        return _UNKNOWN, None
    # Absent headers come back as None although the stubs promise text.
    return (str(name) if name else _UNKNOWN), (str(version) if version else None)
