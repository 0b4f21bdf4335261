"""Prints what the crash tests did: a bench whose figures nobody sees could as well do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crash_kit.figures import table
from crash_kit.settings import SEED

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = table()
    if lines:
        terminalreporter.section("crash bench")
        terminalreporter.write_line(f"VDB_CRASH_SEED={SEED}")
        for line in lines:
            terminalreporter.write_line(line)
