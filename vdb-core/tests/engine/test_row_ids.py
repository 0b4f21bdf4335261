"""Rows may come with internal ids of their own, as an import brings them; the journal keeps these."""

from __future__ import annotations

import numpy as np

from vdb_core.engine.operations import Upsert, decode
from vdb_core.persistence import JournalEntry


def test_an_operation_keeps_its_row_ids() -> None:
    record = b'{"id":"a","document_id":null,"text":null,"metadata":{},"revision":1,"created_at":"","updated_at":""}'
    vectors = np.ones((2, 3), dtype=np.float32)
    plain = Upsert(
        revision=7,
        time="",
        first_id=5,
        ids=["a", "b"],
        records=[record, record.replace(b'"a"', b'"b"')],
        vectors=vectors,
        norms=None,
    )
    assert plain.next_id == 7
    assert b"row_ids" not in plain.encode()[0]
    given = Upsert(
        revision=7,
        time="",
        first_id=1,
        ids=plain.ids,
        records=plain.records,
        vectors=vectors,
        norms=None,
        row_ids=np.array([3, 90]),
    )
    text, matrix = given.encode()
    again = decode(JournalEntry(library_id="x", operation=text, vectors=matrix))
    assert isinstance(again, Upsert)
    assert again.row_ids is not None
    assert again.row_ids.tolist() == [3, 90]
    assert again.next_id == 91
