"""Which row a chunk id names: packed arrays for the base, a dictionary for what was written since.

::

    ChunkIds ── base: Block            ids that its PackedIds know and whose row is alive
             └─ fresh: id -> internal id

    PackedIds   hashes  int64   ascending          letters  the ids, UTF-8, in the order of their slots
                slots   uint32  of each hash       offsets  where each begins

A dictionary costs some 150 bytes an id, and its objects keep whole arenas of Python's allocator from being given
back; packed, an id costs 16 bytes and its length.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Final, final

import numpy as np

from vdb_core.filters.runs import take_texts
from vdb_core.indexes import bitmap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from vdb_core.engine.blocks import Block

__all__ = ["ChunkIds", "PackedIds", "PackedIdsMaker"]

_SOME: Final = 4096
_DEAD: Final = -1


@final
class PackedIds:
    """The id of every row of a block, dead ones included, and the row of every id. Immutable."""

    __slots__ = ("_begins", "_hashes", "_letters", "_offsets", "_places", "_slots")

    def __init__(self, letters: bytes, offsets: NDArray[np.int64], hashes: NDArray[np.int64]) -> None:
        """Pack ids, of which row ``s`` has the letters from ``offsets[s]`` on and ``hash(id) == hashes[s]``.

        Raises:
            ValueError: an id is there twice.
        """
        self._letters = letters
        small = len(letters) < 2**32
        self._offsets: NDArray[np.uint32 | np.uint64] = offsets.astype(np.uint32 if small else np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._slots = order.astype(np.uint32)
        self._hashes = hashes[order]
        # Reading single items of a view is several times faster than of an array.
        self._places: memoryview[int] = self._hashes.data
        self._begins: memoryview[int] = self._offsets.data
        alike = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        for place in alike.tolist():
            first = bisect_left(self._places, self._places[place])
            own = self[int(self._slots[place])]
            if any(self[slot] == own for slot in self._slots[first:place].tolist()):
                raise ValueError(f"the id {own!r} is there twice")

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return len(self._letters) + self._offsets.nbytes + self._hashes.nbytes + self._slots.nbytes

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, slot: int) -> str:
        return self._letters[self._begins[slot] : self._begins[slot + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _SOME):
            ends = self._offsets[begin : begin + _SOME + 1].tolist()
            for first, last in pairwise(ends):
                yield self._letters[first:last].decode()

    def find(self, chunk_id: str) -> int | None:
        """The slot of an id, or none."""
        wanted = hash(chunk_id)
        place = bisect_left(self._places, wanted)
        return self._at(place, wanted, chunk_id)

    def find_all(self, chunk_ids: Sequence[str]) -> tuple[list[int], NDArray[np.int64]]:
        """Which of many ids are here, by their places among those asked for, and the slot of each."""
        hashes = np.fromiter(map(hash, chunk_ids), dtype=np.int64, count=len(chunk_ids))
        places = np.searchsorted(self._hashes, hashes)
        inside = np.flatnonzero(places < len(self))
        likely = inside[self._hashes[places[inside]] == hashes[inside]]
        found: list[int] = []
        slots: list[int] = []
        for at, place, wanted in zip(
            likely.tolist(), places[likely].tolist(), hashes[likely].tolist(), strict=True
        ):
            chunk_id: str = chunk_ids[int(at)]
            slot = self._at(place, wanted, chunk_id)
            if slot is not None:
                found.append(at)
                slots.append(slot)
        return found, np.array(slots, dtype=np.int64)

    def _at(self, place: int, wanted: int, chunk_id: str) -> int | None:
        """Look from the first place of a hash on."""
        encoded = None
        while place < len(self._slots) and self._places[place] == wanted:
            slot = int(self._slots[place])
            encoded = encoded or chunk_id.encode()
            if self._letters[self._begins[slot] : self._begins[slot + 1]] == encoded:
                return slot
            place += 1
        return None

    def taken(
        self, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """Letters, offsets and hashes of chosen rows, in the order given."""
        hashes = np.empty(len(self), dtype=np.int64)
        hashes[self._slots] = self._hashes
        letters, offsets = take_texts(np.frombuffer(self._letters, dtype=np.uint8), self._offsets, slots)
        return letters, offsets, hashes[slots]


@final
class PackedIdsMaker:
    """Collects ids in the order of their rows, and keeps no object for any of them."""

    def __init__(self) -> None:
        self._letters = bytearray()
        self._ends = array("q", [0])
        self._hashes = array("q")

    def add(self, chunk_ids: Iterable[str]) -> None:
        """Add the ids of further rows."""
        rest = iter(chunk_ids)
        while some := list(islice(rest, _SOME)):
            encoded = [one.encode() for one in some]
            ends = accumulate(map(len, encoded), initial=len(self._letters))
            self._letters += b"".join(encoded)
            self._ends.extend(islice(ends, 1, None))
            self._hashes.extend(map(hash, some))

    def add_rows_of(self, packed: PackedIds, slots: NDArray[np.int64]) -> None:
        """Add the ids of chosen rows of another block."""
        letters, offsets, hashes = packed.taken(slots)
        self._ends.frombytes((offsets[1:] + len(self._letters)).tobytes())
        self._letters += letters.data
        self._hashes.frombytes(hashes.tobytes())

    def make(self) -> PackedIds:
        """Pack what was added; raises ``ValueError`` where an id is there twice."""
        offsets = np.frombuffer(self._ends, dtype=np.int64)
        return PackedIds(bytes(self._letters), offsets, np.frombuffer(self._hashes, dtype=np.int64))


@final
class ChunkIds:
    """Chunk id to internal id, live chunks only. Changed by the committer alone, under the library's write lock."""

    __slots__ = ("_base", "_fresh", "_names")

    def __init__(self, base: Block | None = None, fresh: dict[str, int] | None = None) -> None:
        self._base = base
        self._names = None if base is None else base.names
        self._fresh: dict[str, int] = {} if fresh is None else fresh

    def __len__(self) -> int:
        return len(self._fresh) + (0 if self._base is None else self._base.live)

    def __contains__(self, chunk_id: str) -> bool:
        return self.get(chunk_id) is not None

    def get(self, chunk_id: str) -> int | None:
        """The internal id of a chunk, or none."""
        found = self._fresh.get(chunk_id)
        if found is None and self._base is not None and self._names is not None:
            slot = self._names.find(chunk_id)
            if slot is not None and bitmap.test_bit(self._base.alive, slot):
                return int(self._base.ids[slot])
        return found

    def get_all(self, chunk_ids: Sequence[str]) -> dict[str, int]:
        """Internal ids of those of many chunks that are there."""
        fresh, base = self._fresh, self._base
        found: dict[str, int] = {}
        if base is not None and self._names is not None:
            places, slots = self._names.find_all(chunk_ids)
            internal = np.where(bitmap.test_bits(base.alive, slots), base.ids[slots], _DEAD)
            pairs = zip(places, internal.tolist(), strict=True)
            found.update((chunk_ids[at], one) for at, one in pairs if one != _DEAD)
        if not fresh.keys().isdisjoint(chunk_ids):
            found.update((one, fresh[one]) for one in chunk_ids if one in fresh)
        return found

    def put(self, chunk_ids: Sequence[str], first_id: int) -> None:
        """Let ids name new rows, whose internal ids rise from ``first_id``; their old rows must be dead by now."""
        self._fresh.update(zip(chunk_ids, range(first_id, first_id + len(chunk_ids)), strict=True))

    def put_rows(self, chunk_ids: Sequence[str], internal_ids: NDArray[np.int64]) -> None:
        """Let ids name new rows of given internal ids; their old rows must be dead by now."""
        self._fresh.update(zip(chunk_ids, internal_ids.tolist(), strict=True))

    def discard(self, chunk_ids: Iterable[str]) -> None:
        """Forget ids of which the rows are dead by now."""
        for chunk_id in chunk_ids:
            _ = self._fresh.pop(chunk_id, None)

    def over(self, base: Block | None, since: int) -> ChunkIds:
        """The same ids once a base has taken the place of all rows with internal ids below ``since``."""
        return ChunkIds(base, {one: internal for one, internal in self._fresh.items() if internal >= since})

    @property
    def nbytes(self) -> int:
        """About how many bytes this takes; an id since the base is reckoned at 150."""
        return 150 * len(self._fresh) + (0 if self._names is None else self._names.nbytes)
