"""The hits of an answer as JSON, cut from the records, which are JSON: none is parsed on the way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from vdb_core.engine.records import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["hits_json", "shown"]

_ENDING: Final = re.compile(rb',"revision":[0-9]+,"created_at":"[^"]*","updated_at":"[^"]*"}')


def hits_json(
    records: Sequence[bytes], columns: Mapping[str, Sequence[bytes]], *, text: bool, metadata: bool
) -> bytes:
    """Write hits as a JSON array of objects.

    Args:
        records: of each hit.
        columns: JSON texts, one for each hit, of what stands behind that by its name.
        text: show it.
        metadata: show it.
    """
    if not records:
        return b"[]"
    hits, width = len(records), 2 + 2 * len(columns)
    pieces = [b"},"] * (hits * width)
    pieces[::width] = shown(records, text=text, metadata=metadata)
    for at, (name, column) in enumerate(columns.items()):
        pieces[2 * at + 1 :: width] = [b',"%b":' % name.encode()] * hits
        pieces[2 * at + 2 :: width] = column
    pieces[-1] = b"}"
    return b"[" + b"".join(pieces) + b"]"


def shown(records: Sequence[bytes], *, text: bool, metadata: bool) -> list[bytes]:
    """Cut out of records what an answer shows: JSON of an object each that still lacks its closing brace.

    ::

        {"id":…,"document_id":…  ,"text":…  ,"metadata":{…}  ,"revision":7,"created_at":…,"updated_at":…}
                                 ^at_text   ^at_metadata     ^at_revision

    Exact, whatever the strings hold: within a string a quote is escaped, so ``,"text":`` is a member of an object and
    no part of a text; before it come ids only, and behind ``,"revision":`` a number and times only, to the end of the
    record. One that is written in another way (JSON leaves order and blanks open) is parsed.
    """
    cut: list[bytes] = []
    for record in records:
        at_document = record.find(b',"document_id":')
        at_text = record.find(b',"text":', at_document)
        at_metadata = record.find(b',"metadata":', at_text)
        at_revision = record.rfind(b',"revision":')
        if not (
            0 < at_text < at_metadata < at_revision
            and record.startswith(b'{"id":"')
            and _ENDING.fullmatch(record, at_revision)
        ):
            row = parse(record)
            names = ["id", "document_id", *(["text"] if text else []), *(["metadata"] if metadata else [])]
            cut.append(orjson.dumps({name: row[name] for name in names})[:-1])
        elif text:
            cut.append(record[: at_revision if metadata else at_metadata])
        else:
            cut.append(record[:at_text] + (record[at_metadata:at_revision] if metadata else b""))
    return cut
