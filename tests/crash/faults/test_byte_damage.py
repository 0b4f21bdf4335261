"""A small data directory is damaged byte by byte: it is detected, or harmless, and never shown as something else.

One thing cannot be told from a crash: damage in a write-ahead log that a crash left. A log whose rest does not check is
what power loss leaves behind; the commits before the damage are there, whole. The test holds it to being only that.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from crash_kit.figures import figures
from crash_kit.forks import Forks, gather
from crash_kit.scratch import scratch
from crash_kit.settings import LONG, SEED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


STEP = 1 if LONG else 61
"""Of so many bytes of the journal's files one is damaged; of the snapshots' files every one is."""
ENGINES = 4000 if LONG else 240
SLICE = 60

if sys.platform == "linux":  # The pool's processes carry the shim, which is LD_PRELOAD's.
    from crash_kit.journal_places import JOURNAL, LOG, places

    from vdb_core.persistence.journal_files import ENTRIES

    @pytest.fixture(scope="module")
    def pool() -> Iterator[tuple[Forks, Path, dict[str, Any]]]:
        with scratch() as base, Forks(warm=["crash_kit.damage"]) as forks:
            worlds: dict[str, Any] = {}
            for kind in ("crashed", "checkpointed", "closed"):
                made = forks.one("crash_kit.damage:prepare", base=str(base), kind=kind)
                assert not made.error, made.error
                worlds[kind] = made.result
            yield forks, base, worlds

    def test_every_byte_of_the_snapshots(pool: tuple[Forks, Path, dict[str, Any]]) -> None:
        forks, base, _ = pool
        begin = time.monotonic()
        jobs = (
            {"base": str(base), "kind": "closed", "how": how, "step": step, "part": part, "parts": 8}
            for how, step in (
                ("flip", 1),
                ("cut", 1 if LONG else 16),
                ("zeros", 512),
                ("invert", 1 if LONG else 64),
            )
            for part in range(8)
        )
        counts = gather(forks.map("crash_kit.damage:snapshots", jobs, timeout=600))
        figures("damage of snapshots", **counts, unnoticed=0, seconds=round(time.monotonic() - begin))

    @pytest.mark.parametrize("kind", ["crashed", "checkpointed", "closed"])
    def test_the_bytes_of_the_journal(pool: tuple[Forks, Path, dict[str, Any]], kind: str) -> None:
        forks, base, _ = pool
        begin, chance = time.monotonic(), random.Random(SEED)

        def jobs() -> Iterator[dict[str, Any]]:
            part = 0
            own = sorted(path.name for path in (base / kind / ENTRIES).iterdir())
            assert own
            for file in (JOURNAL, LOG, *(f"{ENTRIES}/{name}" for name in own)):
                path = base / kind / file
                data = path.read_bytes() if path.exists() else b""
                for how, step in (("flip", STEP), ("cut", STEP * 16), ("zeros", 512)):
                    chosen = (
                        list(places(data, step, chance)) if how == "flip" else list(range(0, len(data), step))
                    )
                    for at in range(0, len(chosen), SLICE):
                        part += 1
                        yield {
                            "base": str(base),
                            "kind": kind,
                            "file": file,
                            "how": how,
                            "places": chosen[at : at + SLICE],
                            "part": part,
                        }

        counts = gather(forks.map("crash_kit.damage:journal", jobs(), timeout=600))
        figures(
            f"damage of the journal, {kind}", **counts, unnoticed=0, seconds=round(time.monotonic() - begin)
        )

    @pytest.mark.parametrize("kind", ["crashed", "checkpointed", "closed"])
    def test_a_whole_engine_over_damage(pool: tuple[Forks, Path, dict[str, Any]], kind: str) -> None:
        forks, base, worlds = pool
        begin = time.monotonic()
        jobs = (
            {"base": str(base), "kind": kind, "seed": f"{SEED}-{part}", "count": 20, "worlds": worlds[kind]}
            for part in range(ENGINES // 3 // 20)
        )
        counts = gather(forks.map("crash_kit.damage:engine", jobs, inline=True, timeout=600))
        figures(
            f"a whole engine over damage, {kind}",
            **counts,
            unnoticed=0,
            seconds=round(time.monotonic() - begin),
        )
