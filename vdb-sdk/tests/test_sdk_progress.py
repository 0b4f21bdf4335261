from __future__ import annotations

import io

from vdb_sdk import Progress, TextProgress
from vdb_sdk._progress import reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STEPS = [
    Progress(phase="upsert", done=500, total=2000, fraction=0.25, elapsed_s=1.0, eta_s=3.0),
    Progress(phase="upsert", done=1500, total=2000, fraction=0.75, elapsed_s=3.0, eta_s=1.0),
    Progress(phase="upsert", done=2000, total=2000, fraction=1.0, elapsed_s=4.0, finished=True),
]


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    stream = Terminal()
    show = TextProgress(stream)
    for step in STEPS:
        show(step)
    assert stream.getvalue().count("\r") == 3
    assert stream.getvalue().count("\n") == 1
    assert "upsert   25%  500 of 2,000 rows  500/s  3 s left" in stream.getvalue()
    assert stream.getvalue().endswith("done in 4.0 s\n")


def test_a_log_gets_the_first_and_the_last_line_and_few_between() -> None:
    stream = io.StringIO()
    show = TextProgress(stream)
    for step in STEPS:
        show(step)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "25%" in lines[0]
    assert "done in" in lines[1]


def test_what_progress_stands_for() -> None:
    assert reporter(False) is None
    assert isinstance(reporter(True), TextProgress)
    assert reporter(print) is print
