"""Looks after a data directory that no engine has open: ``check`` reads all of it, ``repair`` makes it openable."""

from __future__ import annotations

from vdb_core.maintenance.check import check_directory
from vdb_core.maintenance.repair import Repair, plan_repair
from vdb_core.maintenance.report import CheckReport, Finding, GenerationReport, JournalReport, LibraryReport

__all__ = [
    "CheckReport",
    "Finding",
    "GenerationReport",
    "JournalReport",
    "LibraryReport",
    "Repair",
    "check_directory",
    "plan_repair",
]
