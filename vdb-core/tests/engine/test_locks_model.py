"""The read-write lock under every interleaving of some threads: exclusion, no lost wake-up, no starvation."""

from __future__ import annotations

import pytest
from lock_model import Flaw, explore, source_of_the_lock

CROWDS = [
    ("reader", "writer"),
    ("reader", "reader", "writer"),
    ("reader", "writer", "writer"),
    ("reader", "reader", "writer", "writer"),
    ("reader", "trier", "writer", "writer"),
    ("reader", "reader", "reader", "writer"),
]


@pytest.mark.parametrize("crowd", CROWDS, ids="-".join)
def test_no_interleaving_breaks_the_lock(crowd: tuple[str, ...]) -> None:
    found = explore(crowd)
    print(f"\n{len(found.paths)} states, {sum(map(len, found.edges))} steps")
    # Nothing was left out: somebody got in, somebody waited, and readers were inside together.
    assert any("inside" in places for places in found.places)
    assert any("waiting" in places for places in found.places)
    readers = [at for at, kind in enumerate(crowd) if kind == "reader"]
    assert any(all(places[at] == "inside" for at in readers) for places in found.places)


@pytest.mark.parametrize("crowd", CROWDS[:5], ids="-".join)
def test_nobody_hangs_because_another_was_interrupted(crowd: tuple[str, ...]) -> None:
    explore(crowd, interrupts=True)


def explore_all(source: str, *, interrupts: bool = False) -> None:
    for crowd in CROWDS[:4]:
        explore(crowd, source=source, interrupts=interrupts)


PLANTED = {
    "a reader that leaves wakes nobody": (
        "            if self._readers == 0 and self._waiting_writers:\n                self._condition.notify_all()\n",
        "",
        "a wake-up was lost",
    ),
    "a writer that leaves wakes nobody": (
        "            self._passes = self._waiting_readers\n            self._condition.notify_all()\n",
        "            self._passes = self._waiting_readers\n",
        "a wake-up was lost",
    ),
    "a writer that leaves wakes one": (
        "            self._passes = self._waiting_readers\n            self._condition.notify_all()\n",
        "            self._passes = self._waiting_readers\n            self._condition.notify()\n",
        "a wake-up was lost",
    ),
    "a reader does not look at writers inside": (
        "while self._writing or (self._waiting_writers and turn == self._turn):",
        "while self._waiting_writers and turn == self._turn:",
        "inside at once",
    ),
    "a reader has no pass": (
        "while self._writing or (self._waiting_writers and turn == self._turn):",
        "while self._writing or self._waiting_writers:",
        "a wake-up was lost",
    ),
    "a pass is not used up": (
        "                    self._passes -= 1\n",
        "                    pass\n",
        "a wake-up was lost",
    ),
    "a reader does not wait for writers that wait": (
        "if not self._writing and not self._waiting_writers:",
        "if not self._writing:",
        "writer . can wait for ever",
    ),
    "a writer does not look at readers": (" or self._readers or ", " or ", "inside at once"),
    "a writer does not look at the writer inside": (" or self._writing or ", " or ", "inside at once"),
    "a writer does not look at passes": (" or self._passes", "", "reader . can wait for ever"),
    "writers enter in any order": (
        "self._waiting_writers[0] is not token or ",
        "",
        "writer . can wait for ever",
    ),
}


@pytest.mark.parametrize("plant", PLANTED, ids=str)
def test_what_is_planted_is_found(plant: str) -> None:
    """An exploration that finds nothing in a broken lock would prove nothing of a sound one."""
    old, new, told = PLANTED[plant]
    source = source_of_the_lock()
    assert source.count(old) == 1
    with pytest.raises(Flaw, match=told):
        explore_all(source.replace(old, new))


@pytest.mark.parametrize("which", ["reader", "writer"])
def test_an_interrupted_thread_that_tells_nobody_is_found(which: str) -> None:
    pieces = source_of_the_lock().split("                condition.notify_all()\n                raise\n")
    assert len(pieces) == 3
    kept = "                condition.notify_all()\n                raise\n"
    silent = "                raise\n"
    joints = (silent, kept) if which == "reader" else (kept, silent)
    source = pieces[0] + joints[0] + pieces[1] + joints[1] + pieces[2]
    with pytest.raises(Flaw, match="a wake-up was lost"):
        explore_all(source, interrupts=True)


def test_passes_that_late_readers_take_are_found() -> None:
    """As it was once: a reader that came late took the turn of one that had waited, again and again."""
    source = source_of_the_lock().replace("turn == self._turn):", "not self._passes):")
    source = source.replace("if turn != self._turn:", "if self._passes:")
    with pytest.raises(Flaw, match=r"reader . can wait for ever"):
        explore(("reader", "reader", "writer"), source=source)
