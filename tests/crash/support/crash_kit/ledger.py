"""Who was told what: from what a workload said before and after each step, the worlds that may be found afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crash_kit.world import World, apply, differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Ledger"]


class Ledger:
    """Listens to a workload::

    {"sent": 3}                      from now on step 3 may have happened
    {"acked": 3, "time": "2026-…"}   it has happened, and is never lost
    {"refused": 3, "code": "…"}      it has not happened, and never will
    {"unsure": 3}                    it failed, and whether it has happened will be seen after a restart
    {"settled": 3, "happened": true} it was seen
    """

    def __init__(self, base: World, steps: Sequence[Mapping[str, Any]]) -> None:
        """Begin with a world that is certain."""
        self._base = base
        self._steps = steps
        self._sent: list[int] = []
        self.acked: dict[int, str | None] = {}
        self.refused: dict[int, str] = {}

    def hear(self, line: str) -> None:
        """Take down what the workload said."""
        said = json.loads(line)
        if "sent" in said:
            self._sent.append(said["sent"])
        elif "acked" in said:
            self.acked[said["acked"]] = said["time"]
        elif "refused" in said:
            self.refused[said["refused"]] = said["code"]
        elif "settled" in said and said["happened"]:
            self.acked[said["settled"]] = None
        elif "settled" in said:
            self.refused[said["settled"]] = "it was not there after a restart"

    def hear_all(self, lines: Iterable[str]) -> None:
        """Take down many lines."""
        for line in lines:
            self.hear(line)

    def candidates(self) -> list[tuple[World, frozenset[int]]]:
        """Every world that may be found, with the unknown steps that have happened in it: each as a whole or not at all."""
        worlds: list[tuple[World, frozenset[int]]] = [(self._base, frozenset())]
        for number in self._sent:
            if number in self.refused:
                continue
            known = number in self.acked
            happened: list[tuple[World, frozenset[int]]] = []
            for world, steps in worlds:
                fresh = apply(world, self._steps[number], self.acked.get(number))
                if fresh is not None:
                    happened.append((fresh, steps if known else steps | {number}))
            worlds = happened if known else worlds + happened
        return worlds

    def unknown(self) -> list[int]:
        """Steps that were sent, and of which nobody knows."""
        return [one for one in self._sent if one not in self.acked and one not in self.refused]

    def verdict(self, found: World) -> str:
        """Nothing where what was found may be found; otherwise how it differs from what comes closest."""
        told = [differences(world, found) for world, _ in self.candidates()]
        if not told:
            return "the workload contradicts itself: no world is possible"
        return "" if "" in told else min(told, key=len)
