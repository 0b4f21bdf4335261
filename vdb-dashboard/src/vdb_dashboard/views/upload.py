"""Loads a file into a library: read here, shown with what is wrong row by row, then sent with a progress bar."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, cast

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.inputs import shorten
from vdb_dashboard.logic.problems import row_faults
from vdb_dashboard.logic.reading import KINDS, kind_of, read, read_vectors
from vdb_dashboard.logic.rows import FIELDS, guess, with_fields
from vdb_dashboard.logic.words import count, duration, plain
from vdb_dashboard.ui import session
from vdb_dashboard.ui.pieces import Attempt, empty, fault_table, head
from vdb_sdk import ApiError

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from vdb_dashboard.logic.reading import Records
    from vdb_dashboard.logic.rows import Mapped
    from vdb_sdk import Library, LibraryHandle, Progress

__all__ = ["draw"]

_SHOWN_FAULTS = 200
_SHOWN_ROWS = 6
_NONE = "–"
_NO_EMBEDDER = "the server has no embedder installed, and will refuse them"


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    head("Upload", "JSON Lines, CSV, Parquet, or a plain text that is cut into chunks.")
    library, info = session.library_or_stop(libraries)
    left, right = st.columns([1.35, 1])
    file = left.file_uploader("File", type=list(KINDS), key="upload-file")
    beside = right.file_uploader(
        "Embeddings, row for row, if the file has none",
        type=["npy"],
        key="upload-vectors",
    )
    _show_outcome(library)
    if file is None:
        empty(
            "Nothing to load yet", f"Choose a file; its rows are shown before anything goes to {library.id}."
        )
        return
    with Attempt() as attempt:
        records = _records(file)
        source = _source(records)
        mapped = _mapped(file, beside, records, source, info)
        _review(records, mapped)
        _send(library, mapped, file)
    if not attempt.succeeded:
        st.caption("Nothing was sent.")


def _records(file: UploadedFile) -> Records:
    """What the file holds; read once, not at every click."""
    size, overlap = 800, 100
    if kind_of(file.name) == "text":
        one, two, _ = st.columns([1, 1, 2])
        size = one.number_input("Characters a chunk", min_value=50, value=800, step=50, key="upload-size")
        overlap = two.number_input(
            "Overlap",
            min_value=0,
            max_value=size - 1,
            value=min(100, size - 1),
            step=10,
            key="upload-overlap",
        )
    return session.remembered(
        "records",
        (file.file_id, size, overlap),
        lambda: read(file.name, file.getvalue(), chunk_size=size, overlap=overlap),
    )


def _source(records: Records) -> dict[str, str]:
    """Which column each field is read from: guessed, and shown to be put right."""
    guessed = guess(records.columns)
    if records.document is not None:
        return guessed
    source: dict[str, str] = {}
    for place, field in zip(st.columns(len(FIELDS)), FIELDS, strict=True):
        options = [_NONE, *records.columns]
        index = options.index(guessed.get(field, _NONE))
        chosen = place.selectbox(
            field, options, index=index, key=f"upload-field-{field}-{hash(tuple(options))}"
        )
        if chosen != _NONE:
            source[field] = chosen
    return source


def _mapped(
    file: UploadedFile,
    beside: UploadedFile | None,
    records: Records,
    source: dict[str, str],
    info: Library,
) -> Mapped:
    def make() -> Mapped:
        return with_fields(
            records,
            source,
            vectors=None if beside is None else read_vectors(beside.getvalue()),
            dimension=info.dimension,
            text_cells=kind_of(file.name) == "CSV",
        )

    version = (file.file_id, id(records), beside and beside.file_id, tuple(source.items()), info.dimension)
    return session.remembered("mapped", version, make)


def _review(records: Records, mapped: Mapped) -> None:
    bad = len({fault.row for fault in mapped.faults})
    one, two, three = st.columns(3)
    one.metric("Rows ready", f"{len(mapped.rows):,}", border=True)
    two.metric("With an embedding", f"{mapped.embedded:,}", border=True)
    three.metric("Rows with faults", f"{bad:,}", border=True)
    if mapped.rows:
        frame = pd.DataFrame([_preview(row) for row in mapped.rows[:_SHOWN_ROWS]])
        st.dataframe(frame, hide_index=True)
    else:
        st.caption(f"None of {count(len(records.rows) + len(records.faults), 'row')} can be sent.")
    if (bare := len(mapped.rows) - mapped.embedded) > 0:
        names = session.embedders()
        told = f"the server makes them from the texts with {', '.join(names)}" if names else _NO_EMBEDDER
        st.info(plain(f"{count(bare, 'row')} without an embedding: {told}."), icon=":material/info:")
    if mapped.faults:
        st.warning(f"{count(bad, 'row')} cannot be sent as they are.", icon=":material/warning:")
        fault_table(
            [(fault.row, fault.column, fault.text) for fault in mapped.faults[:_SHOWN_FAULTS]],
            ("row", "column", "what is wrong"),
        )
        if len(mapped.faults) > _SHOWN_FAULTS:
            st.caption(f"The first {_SHOWN_FAULTS} of {len(mapped.faults):,} faults.")


def _preview(row: dict[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": row.get("id", "made up"),
        "text": shorten(str(row.get("text", "")), 54),
    }
    vector = row.get("embedding")
    shown["embedding"] = "" if vector is None else f"{len(cast('list[float]', vector))} numbers"
    shown["document"] = shorten(str(row.get("document_id", "")), 20)
    shown["metadata"] = shorten(json.dumps(row.get("metadata", {}), ensure_ascii=False), 30)
    return shown


def _send(library: LibraryHandle, mapped: Mapped, file: UploadedFile) -> None:
    """The button, and what it does. Rows of a batch are all or nothing; earlier batches stay."""
    create = st.toggle("Make the documents that rows name", value=True, key="upload-documents")
    leave_out = not mapped.faults
    if mapped.faults:
        leave_out = st.toggle("Leave out the rows with faults", value=False, key="upload-leave-out")
    label = f"Upload {count(len(mapped.rows), 'chunk')}"
    ready = bool(mapped.rows) and leave_out
    if not st.button(label, type="primary", key="upload-go", icon=":material/upload:", disabled=not ready):
        return
    bar = st.progress(0.0, text="Sending")

    def show(now: Progress) -> None:
        bar.progress(min(1.0, now.fraction or 0.0), text=f"{now.done or 0:,} of {len(mapped.rows):,} chunks")

    began = time.monotonic()
    with Attempt() as attempt:
        result = library.upsert(
            mapped.rows,
            create_documents=create,
            batch_size=max(50, min(2_000, len(mapped.rows) // 20)),
            progress=show,
        )
        told = (
            f"{result.created:,} created, {result.updated:,} updated in {duration(time.monotonic() - began)}"
        )
        st.session_state["upload-outcome"] = (library.id, file.name, told, result.warnings)
    bar.empty()
    if attempt.succeeded:
        st.rerun()
    error = attempt.error
    if isinstance(error, ApiError):
        if error.acknowledged is not None and error.acknowledged.rows:
            st.warning(f"{count(error.acknowledged.rows, 'row')} before these were stored, and stay.")
        if faults := row_faults(error.errors, mapped.numbers):
            told_rows = [("" if row is None else row, column, text) for row, column, text in faults]
            fault_table(told_rows[:_SHOWN_FAULTS], ("row", "column", "what the server says"))


def _show_outcome(library: LibraryHandle) -> None:
    """What the last upload into this library did."""
    outcome = cast("tuple[str, str, str, tuple[str, ...]] | None", st.session_state.get("upload-outcome"))
    if outcome is not None and outcome[0] == library.id:
        for warning in outcome[3]:
            st.warning(plain(warning), icon=":material/warning:")
        st.success(f"{plain(outcome[1])}: {plain(outcome[2])}", icon=":material/check_circle:")


if __name__ == "__main__":
    draw(session.libraries())
