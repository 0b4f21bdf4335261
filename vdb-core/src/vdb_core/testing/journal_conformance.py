"""The suite for journals: whole batches, in order, durable when ``append`` returns, gone when they are trimmed."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import pytest

from vdb_core.persistence import Journal, JournalEntry
from vdb_core.plugins import JournalType, validate_params
from vdb_core.plugins.validation import check_records
from vdb_core.testing.children import child, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["JournalConformance", "append_forever"]


def _entry(library_id: str, number: int, rows: int | None = None) -> JournalEntry:
    vectors = None if rows is None else np.full((rows, 5), number, dtype=np.float32)
    operation = json.dumps({"n": number, "text": "Zürich\n東京"}).encode()
    return JournalEntry(library_id=library_id, operation=operation, vectors=vectors)


def _plain(position: int, entry: JournalEntry) -> tuple[int, str, bytes, object]:
    vectors = None if entry.vectors is None else (str(entry.vectors.dtype), entry.vectors.tolist())
    return position, entry.library_id, bytes(entry.operation), vectors


class JournalConformance:
    """Subclass it, name it ``Test...``, and set ``journal_type``."""

    journal_type: ClassVar[JournalType]
    """The type that is tested. ``open`` gets a new empty directory as ``data_dir`` in each test."""

    params: ClassVar[Mapping[str, object]] = {}
    """Settings to test with."""

    kills: ClassVar[int] = 3
    """How many processes are killed within ``append``."""

    def open(self, data_dir: Path | str) -> Journal:
        """Open the journal."""
        params = validate_params(self.journal_type.params, self.params, "/params")
        return self.journal_type.open(str(data_dir), params)

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        """An empty journal."""
        made = self.open(tmp_path)
        yield made
        made.close()

    def _check(
        self, journal: Journal, library_id: str, after: int, expected: list[tuple[int, JournalEntry]]
    ) -> None:
        received = [_plain(position, entry) for position, entry in journal.replay(library_id, after)]
        wanted = [_plain(position, entry) for position, entry in expected]
        assert received == wanted, (
            f"replay({library_id!r}, {after}): expected positions {[each[0] for each in wanted]} with what was appended; "
            f"received positions {[each[0] for each in received]}"
        )

    def test_the_record_is_well_formed(self) -> None:
        """The record has a usable name, summary, opener and a parameter model with defaults."""
        _ = check_records("vdb_register_journals", [self.journal_type])

    def test_an_empty_journal_is_empty(self, journal: Journal) -> None:
        """A new journal has every method, position 0 and no library; an empty batch changes nothing."""
        assert isinstance(journal, Journal), "open() returns a Journal; a method is missing"
        assert journal.position == 0, f"a new journal is at position 0; received {journal.position}"
        assert list(journal.libraries()) == [], "a new journal has no libraries"
        assert list(journal.replay("nobody", 0)) == [], "replay() of a library that never was gives nothing"
        journal.trim("nobody", 100)
        assert journal.append([]) == 0, "append([]) returns the position as it is"

    def test_positions_rise_by_one_over_the_whole_journal(self, journal: Journal) -> None:
        """append() returns the position of its last entry; positions rise by one an entry, over all libraries."""
        told = [
            journal.append([_entry("a", 1), _entry("b", 2), _entry("a", 3)]),
            journal.append([_entry("b", 4)]),
            journal.append([]),
            journal.position,
        ]
        assert told == [3, 4, 4, 4], (
            f"appended 3, 1 and no entries: expected positions [3, 4, 4, 4]; received {told}"
        )

    def test_what_is_appended_is_replayed(self, journal: Journal) -> None:
        """replay() gives a library's entries above a position, in order, operations and matrices as they were."""
        entries = [_entry("a", 1), _entry("b", 2, 4), _entry("a", 3, 0), _entry("a", 4, 1000)]
        _ = journal.append(entries)
        numbered = list(enumerate(entries, 1))
        self._check(journal, "a", 0, [each for each in numbered if each[1].library_id == "a"])
        self._check(journal, "b", 0, [numbered[1]])
        self._check(journal, "a", 1, [numbered[2], numbered[3]])
        self._check(journal, "a", 4, [])
        assert sorted(journal.libraries()) == ["a", "b"], (
            f"expected ['a', 'b']; received {list(journal.libraries())}"
        )

    def test_it_outlives_being_closed(self, journal: Journal, tmp_path: Path) -> None:
        """What was appended is there when the journal is opened again, and positions go on."""
        entries = [_entry("a", 1, 3), _entry("a", 2)]
        _ = journal.append(entries)
        journal.close()
        again = self.open(tmp_path)
        try:
            self._check(again, "a", 0, list(enumerate(entries, 1)))
            assert again.position == 2, f"opened again: expected position 2; received {again.position}"
            assert again.append([_entry("a", 3)]) == 3, "opened again: positions do not go on where they were"
        finally:
            again.close()

    def test_what_is_trimmed_is_gone(self, journal: Journal, tmp_path: Path) -> None:
        """trim() forgets one library's entries up to and including a position, for good, and no position comes again."""
        entries = [_entry("ab"[at % 2], at) for at in range(6)]
        _ = journal.append(entries)
        numbered = list(enumerate(entries, 1))
        journal.trim("a", 3)
        self._check(journal, "a", 0, [numbered[4]])
        self._check(journal, "b", 0, [numbered[1], numbered[3], numbered[5]])
        journal.trim("a", 100)
        journal.trim("b", 100)
        assert list(journal.libraries()) == [], "libraries() names a library whose entries were all trimmed"
        assert journal.position == 6, (
            f"position counts trimmed entries: expected 6; received {journal.position}"
        )
        journal.close()
        again = self.open(tmp_path)
        try:
            assert again.append([_entry("a", 7)]) == 7, "after all was trimmed a position came a second time"
        finally:
            again.close()

    def test_it_can_be_advanced(self, journal: Journal, tmp_path: Path) -> None:
        """advance_to() lets the next entry stand above a position, also after a restart, and never goes back."""
        _ = journal.append([_entry("a", 1)])
        journal.advance_to(40)
        journal.advance_to(7)
        journal.close()
        again = self.open(tmp_path)
        try:
            assert again.position == 40, (
                f"after advance_to(40) and (7): expected 40; received {again.position}"
            )
            assert again.append([_entry("a", 2)]) == 41, "the next entry does not stand above the position"
            self._check(again, "a", 0, [(1, _entry("a", 1)), (41, _entry("a", 2))])
        finally:
            again.close()

    def test_a_batch_that_fails_leaves_nothing(self, journal: Journal) -> None:
        """Where append() raises, nothing of the batch is there, and the next batch is appended as ever."""
        _ = journal.append([_entry("a", 1)])
        unusable = JournalEntry(library_id="a", operation=cast("bytes", object()))
        with pytest.raises(Exception):  # noqa: B017, PT011 - whichever fits the journal
            _ = journal.append([_entry("a", 2), unusable])
        self._check(journal, "a", 0, [(1, _entry("a", 1))])
        assert journal.append([_entry("a", 3)]) == 2, "a batch that failed took positions"

    def test_reading_goes_on_beside_appending(self, journal: Journal) -> None:
        """Another thread may append() and trim() within a replay(), which holds nobody up and keeps its order."""
        _ = journal.append([_entry("a", at) for at in range(1, 301)])
        seen: list[int] = []
        failed: list[Exception] = []

        def write() -> None:
            try:
                _ = journal.append([_entry("a", 301)])
                journal.trim("b", 9)
            except Exception as error:  # noqa: BLE001 - told below, on the thread that asserts
                failed.append(error)

        for position, _ in journal.replay("a", 0):
            seen.append(position)
            if position == 2:
                thread = threading.Thread(target=write)
                thread.start()
                thread.join(5)
                assert not thread.is_alive(), (
                    "append() waited for a replay() that was under way; expected it to go on. Read in slices, and hold no "
                    "lock between them."
                )
                assert not failed, f"beside a replay(), append() or trim() raised {failed[0]!r}"
        assert seen == sorted(set(seen)), "replay() gave a position twice, or out of order"
        assert seen[:300] == list(range(1, 301)), "replay() left entries out"

    def test_an_acknowledged_batch_survives_a_kill(self, tmp_path: Path) -> None:
        """A process is killed within append(): every batch that was acknowledged is there, and no part of another."""
        chance = random.Random(7)  # noqa: S311 - the moment of a kill
        for number in range(self.kills):
            data = tmp_path / str(number)
            data.mkdir()
            with child(type(self), f"{__name__}:append_forever", str(data), beside=tmp_path) as process:
                told = [(int(process.wait_for("appended")), time.monotonic()) for _ in range(20)]
                time.sleep(chance.uniform(0, 2 * max(told[-1][1] - told[-2][1], 0.001)))
                process.kill()
            journal = self.open(data)
            try:
                found: dict[int, int] = {}
                for _, entry in journal.replay("a", 0):
                    batch = cast("int", json.loads(entry.operation)["n"])
                    found[batch] = found.get(batch, 0) + 1
                lost = sorted(set(range(told[-1][0] + 1)) - found.keys())
                assert not lost, (
                    f"append() had returned for batch {lost[0]}, and after the kill it is not there"
                )
                torn = {batch: count for batch, count in found.items() if count != 7}
                assert not torn, f"batches of 7 entries are there in part after a kill: {torn}"
            finally:
                journal.close()


def append_forever(suite: type[JournalConformance], data_dir: str) -> None:
    """What the killed process does."""
    journal = suite().open(data_dir)
    for batch in itertools.count():
        _ = journal.append([_entry("a", batch, 50) for _ in range(7)])
        say(f"appended {batch}")
