"""Turns of the interpreter: short while somebody wants that, and as they were afterwards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from vdb_server.wire.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Generator

USUAL_S = 0.003


@pytest.fixture(autouse=True)
def usual() -> Generator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(USUAL_S)
    yield
    sys.setswitchinterval(before)


def test_turns_are_short_until_the_last_one_ends() -> None:
    turns = Turns(ours=True)
    with turns.short(wanted=True):
        short = sys.getswitchinterval()
        with turns.short(wanted=True), turns.short(wanted=False):
            assert sys.getswitchinterval() == short
        assert sys.getswitchinterval() == short < USUAL_S / 10
    assert sys.getswitchinterval() == pytest.approx(USUAL_S)


def test_the_usual_turns_come_back_after_a_failure() -> None:
    turns = Turns(ours=True)
    with pytest.raises(RuntimeError), turns.short(wanted=True):
        raise RuntimeError("the batch fell over")
    assert sys.getswitchinterval() == pytest.approx(USUAL_S)
    with turns.short(wanted=True):
        assert sys.getswitchinterval() < USUAL_S / 10


@pytest.mark.parametrize(("ours", "wanted"), [(False, True), (True, False)])
def test_turns_of_somebody_else_or_that_nobody_wants_stay(ours: bool, wanted: bool) -> None:
    with Turns(ours=ours).short(wanted=wanted):
        assert sys.getswitchinterval() == pytest.approx(USUAL_S)


def test_turns_that_are_shorter_yet_stay() -> None:
    sys.setswitchinterval(1e-5)
    with Turns(ours=True).short(wanted=True):
        assert sys.getswitchinterval() == pytest.approx(1e-5)
    assert sys.getswitchinterval() == pytest.approx(1e-5)
