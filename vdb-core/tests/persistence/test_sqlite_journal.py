"""The journal: what was appended is replayed as it was, in order, whole batches only; damage is never silence."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vdb_core.errors import EngineClosed, FormatUnsupported, StorageFailed, StorageFull
from vdb_core.persistence import Journal, JournalEntry
from vdb_core.persistence.journal_files import entry_files
from vdb_core.persistence.sqlite_file import pragma
from vdb_core.persistence.sqlite_journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    with closing(SqliteJournal(tmp_path / "data")) as opened:
        yield opened


def entry(library_id: str, text: str = "{}", rows: int | None = None, dim: int = 3) -> JournalEntry:
    vectors = None if rows is None else np.random.default_rng(len(text)).random((rows, dim), dtype=np.float32)
    return JournalEntry(library_id=library_id, operation=text.encode(), vectors=vectors)


Plain = tuple[int, bytes, tuple[tuple[int, ...], bytes] | None]


def plain(position: int, item: JournalEntry) -> Plain:
    vectors = None if item.vectors is None else (item.vectors.shape, item.vectors.astype("<f4").tobytes())
    return position, item.operation, vectors


def replayed(journal: SqliteJournal, library_id: str, after: int = 0) -> list[Plain]:
    found = []
    for position, item in journal.replay(library_id, after):
        assert item.library_id == library_id
        assert item.vectors is None or item.vectors.dtype == np.float32
        found.append(plain(position, item))
    return found


def size_on_disk(journal: SqliteJournal) -> int:
    return sum(path.stat().st_size for path in journal.path.parent.iterdir())


def test_it_is_a_journal(journal: SqliteJournal) -> None:
    assert isinstance(journal, Journal)
    assert journal.append([]) == 0
    assert journal.libraries() == ()
    assert list(journal.replay("a", 0)) == []
    journal.trim("a", 100)
    assert journal.path.name == "_journal.sqlite3"


def test_positions_rise_by_one_over_the_whole_journal(journal: SqliteJournal) -> None:
    assert journal.append([entry("a", "1"), entry("b", "2", 4), entry("a", "3", 0)]) == 3
    assert journal.append([entry("b", "4")]) == 4
    assert journal.append([]) == journal.position == 4
    assert replayed(journal, "a") == [plain(1, entry("a", "1")), plain(3, entry("a", "3", 0))]
    assert replayed(journal, "b", 2) == [plain(4, entry("b", "4"))]
    assert journal.libraries() == ("a", "b")


def test_commits_are_synced_and_the_log_is_the_only_other_file(journal: SqliteJournal) -> None:
    connection = journal._connection
    assert connection is not None
    journal.append([entry("a")])
    journal.trim("a", 1)
    assert pragma(connection, "journal_mode") == "wal"
    assert pragma(connection, "synchronous") == 2  # FULL: an fsync before every commit returns
    assert pragma(connection, "auto_vacuum") == 2
    assert sorted(path.name for path in journal.path.parent.iterdir()) == [
        "_journal.sqlite3",
        "_journal.sqlite3-wal",
    ]


class JournalMachine(RuleBasedStateMachine):
    """Any interleaving of appends, trims and restarts, against a list."""

    directory: Path

    @initialize(part_bytes=st.sampled_from([1, 7, 4 << 20]), file_bytes=st.sampled_from([0, 20, 1 << 20]))
    def start(self, part_bytes: int, file_bytes: int) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.part_bytes, self.file_bytes = part_bytes, file_bytes
        self.journal = SqliteJournal(self.directory, part_bytes=part_bytes, file_bytes=file_bytes)
        self.position = 0
        self.entries: dict[str, list[Plain]] = {"a": [], "b": [], "c": []}

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from("abc"), st.text(max_size=30), st.none() | st.integers(0, 5), st.integers(1, 4)
            ),
            max_size=6,
        )
    )
    def append(self, batch: list[tuple[str, str, int | None, int]]) -> None:
        items = [entry(*fields) for fields in batch]
        for item in items:
            self.position += 1
            self.entries[item.library_id].append(plain(self.position, item))
        assert self.journal.append(items) == self.position

    @rule(library_id=st.sampled_from("abc"), back=st.integers(-3, 12))
    def trim(self, library_id: str, back: int) -> None:
        self.journal.trim(library_id, self.position - back)
        self.entries[library_id] = [
            item for item in self.entries[library_id] if item[0] > self.position - back
        ]

    @rule(by=st.integers(-5, 5))
    def advance(self, by: int) -> None:
        self.journal.advance_to(self.position + by)
        self.position += max(by, 0)

    @rule(bad=st.sampled_from(["a", "b"]))
    def fail_to_append(self, bad: str) -> None:
        wrong = JournalEntry(library_id=bad, operation=b"", vectors=np.zeros(3, dtype=np.float32))
        with pytest.raises(ValueError, match="shape"):
            self.journal.append([entry(bad, "never"), wrong])

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = SqliteJournal(self.directory, part_bytes=self.part_bytes, file_bytes=self.file_bytes)

    @rule(library_id=st.sampled_from("abc"), after=st.integers(0, 30))
    def replay_from_the_middle(self, library_id: str, after: int) -> None:
        expected = [item for item in self.entries[library_id] if item[0] > after]
        assert replayed(self.journal, library_id, after) == expected

    @invariant()
    def replays_what_was_appended(self) -> None:
        for library_id, expected in self.entries.items():
            assert replayed(self.journal, library_id) == expected
        assert self.journal.libraries() == tuple(sorted(key for key, items in self.entries.items() if items))
        assert self.journal.position == self.position
        large = [
            position
            for items in self.entries.values()
            for position, operation, vectors in items
            if len(operation) + (0 if vectors is None else len(vectors[1])) >= self.file_bytes
        ]
        assert sorted(position for position, _ in entry_files(self.journal.path)) == sorted(large)

    def teardown(self) -> None:
        self.journal.close()


def test_any_interleaving_equals_a_list(tmp_path: Path) -> None:
    class Machine(JournalMachine):
        directory = tmp_path / "data"

    case = Machine.TestCase
    case.settings = settings(
        max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case().runTest()


def test_large_entries_are_split(tmp_path: Path) -> None:
    with closing(SqliteJournal(tmp_path, part_bytes=1000)) as journal:
        large = entry("a", "x" * 2500, 100, 30)
        journal.append([large, entry("a", "after")])
        assert replayed(journal, "a") == [plain(1, large), plain(2, entry("a", "after"))]
        journal.trim("a", 1)
        connection = journal._connection
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM parts").fetchone() == (0,)


def test_replay_holds_no_lock_while_the_caller_works(journal: SqliteJournal) -> None:
    journal.append([entry("a", str(number)) for number in range(600)])
    seen = []
    for position, item in journal.replay("a", 0):
        seen.append(position)
        if position == 1:
            journal.append([entry("a", "meanwhile")])
            thread = threading.Thread(target=journal.append, args=([entry("a", "from another thread")],))
            thread.start()
            thread.join(timeout=20)
            assert not thread.is_alive()
        if position == 300:
            journal.trim("a", 450)
        assert item.library_id == "a"
    # What was read into the slice before the trim still comes.
    assert seen == sorted(set(seen))
    assert set(range(1, 301)) | set(range(451, 603)) <= set(seen)
    assert set(seen) <= set(range(1, 603))


# Space


def test_the_file_ends_as_small_as_it_began(journal: SqliteJournal) -> None:
    journal.append([entry("a", "x" * 1000, 10, 384)])
    journal.trim("a", 1)
    start = size_on_disk(journal)
    for _ in range(40):
        last = journal.append([entry("a", "x" * 100_000, 1000, 96)])
        journal.trim("a", last - 2)
    journal.append([entry("keep", "kept")])
    for _ in range(40):
        last = journal.append([entry("a", "x" * 100_000, 1000, 96)])
    assert size_on_disk(journal) > 15_000_000
    journal.trim("a", last)
    # Spare pages are kept: 64 of 8 KiB.
    assert size_on_disk(journal) <= start + (64 << 13) + (64 << 10)
    assert len(replayed(journal, "keep")) == 1


def test_libraries_that_are_gone_leave_no_rows(journal: SqliteJournal) -> None:
    for number in range(50):
        last = journal.append([entry(f"library-{number}")])
        journal.trim(f"library-{number}", last)
    connection = journal._connection
    assert connection is not None
    for table in ("entries", "parts", "libraries"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert journal.append([entry("next")]) == 51


def test_appends_get_in_between_the_steps_of_a_trim(journal: SqliteJournal) -> None:
    for _ in range(20):
        journal.append([entry("a", "x" * 50_000, 1000, 384) for _ in range(2)])
    done = threading.Event()
    between = 0

    def trim() -> None:
        journal.trim("a", journal.position)
        done.set()

    thread = threading.Thread(target=trim)
    thread.start()
    while not done.is_set():
        journal.append([entry("b")])
        between += 1
    thread.join()
    assert between > 10
    assert len(replayed(journal, "b")) == between
    assert replayed(journal, "a") == []


def test_a_trim_cut_short_is_complete_to_readers_and_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteJournal(tmp_path, part_bytes=10)) as journal:
        journal.append([entry("a", "x" * 100) for _ in range(10)])
        with monkeypatch.context() as patch:
            patch.setattr(journal, "_delete_slice", lambda *_: None)
            journal.trim("a", 7)
    with closing(SqliteJournal(tmp_path, part_bytes=10)) as journal:
        assert [position for position, *_ in replayed(journal, "a")] == [8, 9, 10]
        journal.trim("a", 7)
        connection = journal._connection
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (3,)


def test_a_full_disk_takes_nothing_and_works_again_when_there_is_room(journal: SqliteJournal) -> None:
    kept = [entry("a", "kept", 10)]
    journal.append(kept)
    connection = journal._connection
    assert connection is not None
    pages = pragma(connection, "page_count")
    assert isinstance(pages, int)
    pragma(connection, f"max_page_count={pages + 2}")
    for _ in range(3):
        with pytest.raises(StorageFull, match=r"_journal\.sqlite3.*Free some space"):
            journal.append([entry("a", "small"), entry("a", "large", 300, 384)])
        assert replayed(journal, "a") == [plain(1, kept[0])]
    pragma(connection, "max_page_count=1000000")
    assert journal.append([entry("a", "large", 300, 384)]) == 2
    assert len(replayed(journal, "a")) == 2


# Damage


def filled(directory: Path) -> Path:
    with closing(SqliteJournal(directory)) as journal:
        for number in range(30):
            journal.append([entry("a", f"a{number}" * 100, 20), entry("b", f"b{number}", 200)])
        return journal.path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_an_error_or_says_the_same(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        filled(whole)
    with closing(SqliteJournal(whole)) as journal:
        expected = {library_id: replayed(journal, library_id) for library_id in "ab"}
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(whole, tmp_path / "copy")
    path = tmp_path / "copy" / "_journal.sqlite3"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 99))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(content) // 512)) * 512
        content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    told = str(path)
    with suppress(FormatUnsupported):
        try:
            with closing(SqliteJournal(tmp_path / "copy")) as journal:
                for library_id in "ab":
                    assert replayed(journal, library_id) == expected[library_id]
        except StorageFailed as error:
            told = str(error)
    assert str(path) in told


@pytest.mark.parametrize("content", [b"", b"SQLite", b"something else entirely " * 500])
def test_a_file_that_is_no_journal_is_not_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_journal.sqlite3").write_bytes(content)
    with pytest.raises(StorageFailed, match=r"_journal\.sqlite3 is damaged: it begins with"):
        SqliteJournal(tmp_path)
    assert (tmp_path / "_journal.sqlite3").read_bytes() == content


def test_another_database_is_not_taken_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "_journal.sqlite3")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(StorageFailed, match="application id"):
        SqliteJournal(tmp_path)


def test_a_log_without_its_file_is_not_given_to_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "_journal.sqlite3-wal").write_bytes(b"what came last")
    with pytest.raises(StorageFailed, match=r"it is missing, while _journal\.sqlite3-wal"):
        SqliteJournal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["_journal.sqlite3-wal"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE position = 1",
        "DELETE FROM entries WHERE position = 31",
        "DELETE FROM entries WHERE position = 59",
        "DELETE FROM entries",
        "DELETE FROM libraries",
        "UPDATE entries SET operation = x'7b7d' WHERE position = 31",
        "UPDATE entries SET dimension = 6, rows = 10 WHERE position = 31",
        "UPDATE entries SET library_id = 'b' WHERE position = 31",
        "UPDATE entries SET position = 1000 WHERE position = 31",
        "UPDATE entries SET vectors = NULL WHERE position = 31",
        "UPDATE entries SET operation_parts = 1 WHERE position = 31",
    ],
)
def test_a_row_that_is_gone_or_altered_is_noticed(tmp_path: Path, statement: str) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with (
        closing(SqliteJournal(tmp_path)) as journal,
        pytest.raises(StorageFailed, match=r"_journal\.sqlite3 is damaged: entry"),
    ):
        list(journal.replay("a", 0))


def test_a_newer_format_is_refused_by_number(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    with pytest.raises(FormatUnsupported, match="version 9; this vdb reads versions 1 to 2"):
        SqliteJournal(tmp_path)
    assert path.read_bytes() == before


def test_a_journal_in_use_elsewhere_is_told(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="another program has"):
            SqliteJournal(tmp_path)


def test_a_creation_cut_short_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "_journal.sqlite3.new").write_bytes(b"half")
    (tmp_path / "_journal.sqlite3.new-journal").write_bytes(b"half")
    with closing(SqliteJournal(tmp_path)) as journal:
        assert journal.append([entry("a")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["_journal.sqlite3"]


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    journal.close()
    journal.close()
    for act in (
        lambda: journal.append([entry("a")]),
        lambda: journal.trim("a", 1),
        lambda: list(journal.replay("a", 0)),
        journal.libraries,
    ):
        with pytest.raises(EngineClosed, match="was closed"):
            act()


def test_a_lost_journal_goes_on_where_snapshots_say(journal: SqliteJournal) -> None:
    journal.advance_to(1000)
    assert journal.append([entry("a")]) == 1001
    journal.advance_to(7)
    assert journal.append([entry("a")]) == 1002
    assert [position for position, _ in journal.replay("a", 1000)] == [1001, 1002]


def test_a_counter_that_was_lost_gives_no_position_twice(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(SqliteJournal(tmp_path)) as journal:
        last = journal.position
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM sqlite_sequence")
        connection.commit()
    with closing(SqliteJournal(tmp_path)) as journal:
        assert journal.position == last
        assert journal.append([JournalEntry(library_id="a", operation=b"next")]) == last + 1


def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"PRIMARY KEY AUTOINCREMENT")
    data[at + 10] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(StorageFailed, match="is damaged"):
        SqliteJournal(tmp_path)
