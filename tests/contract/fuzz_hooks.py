"""Hooks of Schemathesis: how bodies are made that are no JSON, and that a write that is sent again is another one.

Half of the bodies are what they should be, half are anything.
"""

from __future__ import annotations

import io
import tarfile
from typing import Any
from uuid import uuid4

import numpy as np
import schemathesis
from hypothesis import strategies as st

_KEY = "Idempotency-Key"
_SENT: set[tuple[str, str]] = set()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a write a key of its own where one went to the same place under the same key before.

    It would be answered as the first time and do nothing, as promised: what was made and deleted since then would not be
    there again, and what was deleted and made anew would stay. The checks of sequences take that for faults.
    """
    key = (case.headers or {}).get(_KEY)
    if isinstance(key, str):
        sent = (case.formatted_path, key.strip(' \t"'))  # quotes are not part of a key
        if sent in _SENT:
            case.headers[_KEY] = f'"{uuid4()}"'
        _SENT.add(sent)


def _npy(rows: int, dimension: int, kind: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((rows, dimension), dtype=kind))
    return file.getvalue()


def _tar(names: list[str], content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


_NAMES = st.sampled_from(
    ["library.json", "documents.jsonl", "chunks.jsonl", "vectors.npy", "../escape", "/etc/passwd"]
)

schemathesis.openapi.media_type(
    "application/x-npy",
    st.builds(_npy, st.integers(0, 4), st.integers(0, 4), st.sampled_from(["<f4", "<f2", "<f8", "<i4"]))
    | st.binary(max_size=200),
)
schemathesis.openapi.media_type(
    "application/x-tar",
    st.builds(
        _tar,
        st.lists(_NAMES, max_size=5),
        st.sampled_from([b"", b"{}", b'{"id": "a", "name": "A"}\n', b"\x93NUMPY"]),
    )
    | st.binary(max_size=600),
)
