"""The power goes at every moment of a run, and takes what was not safe: kept, lost or torn, names apart from bytes.

Every image opens without an error; what was acknowledged before that moment is in it bit for bit, what was refused is
not, what was under way is there as a whole or not at all.
"""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

import pytest
from crash_kit.figures import figures
from crash_kit.forks import Forks, gather
from crash_kit.scratch import scratch
from crash_kit.settings import IMAGES, SEED
from crash_kit.template import make_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLICE = 4
"""Moments a job."""


if sys.platform == "linux":  # The shim is LD_PRELOAD's; what it finds is true of other systems as well.

    @pytest.fixture(scope="module")
    def pool() -> Iterator[tuple[Forks, Path]]:
        with scratch() as base, Forks(warm=["crash_kit.power"]) as forks:
            make_template(forks, base)
            yield forks, base

    @pytest.mark.parametrize(("story", "share"), [("birth", 0.25), ("long", 0.75)])
    def test_no_power_loss_takes_what_was_acknowledged(
        pool: tuple[Forks, Path], story: str, share: float
    ) -> None:
        forks, base = pool
        begin = time.monotonic()
        recorded = forks.one("crash_kit.power:record", inline=True, base=str(base), story=story)
        assert not recorded.error, recorded.error
        moments, wanted = recorded.result["moments"], math.ceil(IMAGES * share)
        images = math.ceil(wanted / moments)
        jobs = (
            {
                "base": str(base),
                "story": story,
                "first": at,
                "last": at + SLICE,
                "variants": list(range(images)),
                "seed": SEED,
            }
            for at in range(0, moments, SLICE)
        )
        counts = gather(forks.map("crash_kit.power:cut", jobs, inline=True, timeout=600))
        assert counts["images"] == moments * images >= wanted
        figures(
            f"power loss, {story}",
            moments=moments,
            **counts,
            lost=0,
            seconds=round(time.monotonic() - begin),
        )

    def test_no_power_loss_after_a_failed_flush_does_either(pool: tuple[Forks, Path]) -> None:
        forks, base = pool
        begin = time.monotonic()
        recorded = forks.one("crash_kit.power:record", inline=True, base=str(base), story="short")
        assert not recorded.error, recorded.error
        flushes = recorded.result["flushes"] + recorded.result["root_flushes"]
        jobs = (
            {"base": str(base), "at": at, "seed": SEED, "of_root": of_root}
            for kind, of_root in (("flushes", False), ("root_flushes", True))
            for at in range(1, recorded.result[kind] + 1)
        )
        counts = gather(forks.map("crash_kit.power:cut_after_a_failed_flush", jobs, inline=True))
        # Threads take turns in another order each time, so that the last of them may not be made.
        assert counts["struck"] >= 0.95 * flushes, f"{counts['struck']} of {flushes} flushes failed"
        figures(
            "power loss after a failed flush",
            flushes=flushes,
            **counts,
            lost=0,
            seconds=round(time.monotonic() - begin),
        )
