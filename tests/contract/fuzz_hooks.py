"""Hooks of Schemathesis: how bodies are made that are no JSON, and that a deletion that is sent again is another one.

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
    """Give a deletion a key of its own where it went under the same one before.

    It would be answered as the first time and do nothing, and what was made anew since then would stay: a promise, which
    the check of deleted resources takes for a fault.
    """
    key = (case.headers or {}).get(_KEY)
    if case.method.upper() == "DELETE" and isinstance(key, str):
        if (case.formatted_path, key) in _SENT:
            case.headers[_KEY] = f'"{uuid4()}"'
        _SENT.add((case.formatted_path, key))


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
