"""What a check finds, as records that print as JSON.

::

    CheckReport
    ├── libraries[]      LibraryReport: what a start would serve, and from what
    │   └── generations[]    GenerationReport: each file's checksum
    ├── journal          JournalReport: SQLite's integrity, each entry's checksum, each library's chain
    ├── quarantine[]     what was set aside, with its reason
    └── findings[]       Finding: everything that is not as it should be, worst first
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final, Literal, final

__all__ = ["CheckReport", "Finding", "GenerationReport", "JournalReport", "LibraryReport", "Severity"]

Severity = Literal["note", "warning", "error"]
"""``note``: harmless. ``warning``: damaged, and a start would lose nothing. ``error``: it would not open, or not all of it."""

_ORDER: Final = ("error", "warning", "note")


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Severity
    place: str
    """The path, relative to the data directory, or the library."""

    text: str


@final
@dataclass(slots=True, kw_only=True)
class GenerationReport:
    """One generation of a library."""

    generation: int
    listed: bool
    """Whether the library's manifest names it."""

    files: int = 0
    bytes: int = 0
    revision: int | None = None
    """Of the library, when it was written."""

    journal_position: int | None = None
    problem: str | None = None
    """Why it cannot be used; none where every checksum agrees."""


@final
@dataclass(slots=True, kw_only=True)
class LibraryReport:
    """One library."""

    id: str
    opens: bool = False
    """Whether a start would serve it."""

    problem: str | None = None
    revision: int | None = None
    documents: int | None = None
    chunks: int | None = None
    index_type: str | None = None
    generation: int | None = None
    """What it would be opened from; none: from the journal alone."""

    journal_entries: int = 0
    """What would be replayed on top, or is there at all where it does not open."""

    generations: list[GenerationReport] = field(default_factory=list)


@final
@dataclass(slots=True, kw_only=True)
class JournalReport:
    """The journal."""

    exists: bool = False
    problem: str | None = None
    """Why it could not be read as a whole."""

    position: int = 0
    entries: int = 0
    bytes: int = 0
    log_bytes: int = 0
    """Of the write-ahead log, which was read too."""

    file_bytes: int = 0
    """Of the entries' own files."""

    damaged: dict[str, str] = field(default_factory=dict)
    """What is wrong with the chain of a library, by its id."""


@final
@dataclass(slots=True, kw_only=True)
class CheckReport:
    """All of a data directory."""

    directory: str
    libraries: list[LibraryReport] = field(default_factory=list)
    journal: JournalReport = field(default_factory=JournalReport)
    quarantine: list[dict[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, severity: Severity, place: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(severity, place, text))

    def finish(self) -> None:
        """Put the worst first."""
        self.findings.sort(key=lambda one: (_ORDER.index(one.severity), one.place))

    @property
    def worst(self) -> Severity | None:
        """The worst there is; none where all is well."""
        found = {one.severity for one in self.findings}
        return next((one for one in _ORDER if one in found), None)

    def to_json(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)
