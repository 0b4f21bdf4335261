"""What arrives piece by piece is whole in the end, and takes about as much memory as it is long, whatever the pieces."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdb_server.chunks.multipart import FormReader
from vdb_server.wire import spool
from vdb_server.wire.spool import Spool

LENGTHS = st.lists(st.sampled_from([0, 1, 7, 4095, 4096, 5000, 20_000]), max_size=12)


@given(lengths=LENGTHS, limit=st.sampled_from([0, 9_000, 1 << 20]))
def test_pieces_of_any_size_are_whole_in_the_end(lengths: list[int], limit: int) -> None:
    pieces = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patched, Spool("a test") as kept:
        patched.setattr(spool, "_IN_MEMORY", limit)
        for number, piece in enumerate(pieces):
            kept.write(memoryview(piece) if number % 2 else piece)
        whole = b"".join(pieces)
        if whole:
            assert bytes(kept.view()) == whole
            assert bytes(kept.view()) == whole


def test_a_form_that_comes_byte_by_byte_takes_no_more_memory_than_another() -> None:
    content = bytes(range(32, 96)) * 800
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + content + b"\r\n--x--\r\n"
    )
    tracemalloc.start()
    try:
        with FormReader(b"x", {"a"}) as form:
            for at in range(len(body)):
                form.feed(body[at : at + 1])
            assert bytes(form.finish()["a"]) == content
            assert tracemalloc.get_traced_memory()[1] < 8 * len(content)
    finally:
        tracemalloc.stop()
