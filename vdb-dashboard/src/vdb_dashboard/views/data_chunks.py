"""The chunks of a library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.inputs import parse_object, parse_vector, shorten
from vdb_dashboard.logic.words import count
from vdb_dashboard.ui import session
from vdb_dashboard.ui.paging import one_page, rows_key, turn_pages
from vdb_dashboard.ui.pieces import Attempt, changed_since, confirm, empty, tried

if TYPE_CHECKING:
    from vdb_sdk import Chunk, Library, LibraryHandle, Page

__all__ = ["draw"]

_A_PAGE = 25
_FILTER_HELP = 'A filter over the metadata, such as {"lang": "en", "year": {"$gte": 2024}}.'


def draw(library: LibraryHandle, info: Library) -> None:
    """Draw the list, and the chunk that is picked."""
    left, right, button = st.columns([2, 4, 1.4], vertical_alignment="bottom")
    document = left.text_input("Document", key="chunks-document", placeholder="all documents")
    text = right.text_input(
        "Filter (JSON)", key="chunks-filter", placeholder='{"lang": "en"}', help=_FILTER_HELP
    )
    if button.button("New chunk", icon=":material/add:", key="chunk-new", width="stretch"):
        session.open_dialog("create-chunk")
    if session.dialog_is("create-chunk"):
        _create(library, info)
    key = f"chunks-{library.id}-{document}-{text}"

    def load() -> tuple[dict[str, object] | None, Page[Chunk]]:
        condition = parse_object(text, "The filter")
        return condition, one_page(
            key,
            lambda cursor: library.chunks(
                document_id=document or None, filter=condition, page_size=_A_PAGE, cursor=cursor
            ),
        )

    loaded = tried(load)
    if loaded is None:
        return
    condition, page = loaded
    if not page.items:
        if document or condition:
            empty("Nothing matches", "No chunk has this document and filter. Empty them to see all.")
        else:
            empty("No chunks yet", "Load a file under Upload, or make one with New chunk.")
        return
    picked = _table(list(page.items), f"chunk-table-{rows_key(page)}")
    turn_pages(key, page)
    chunks = [page.items[row] for row in picked if row < len(page.items)]
    if condition and st.button(
        "Delete all that match", icon=":material/delete_sweep:", key="chunks-delete-filter"
    ):
        session.open_dialog("delete-by-filter")
    if condition and session.dialog_is("delete-by-filter"):
        _delete(library, f"Every chunk that matches {shorten(text, 200)}", by=condition)
    if not chunks:
        st.caption("Pick rows to see, change or delete chunks.")
        return
    if st.button(f"Delete {count(len(chunks), 'chunk')}", icon=":material/delete:", key="chunks-delete"):
        session.open_dialog("delete-chunks")
    if session.dialog_is("delete-chunks"):
        names = shorten(", ".join(chunk.id for chunk in chunks), 200)
        _delete(library, f"{count(len(chunks), 'chunk')} ({names})", ids=[chunk.id for chunk in chunks])
    if len(chunks) == 1:
        _detail(library, chunks[0])


def _table(chunks: list[Chunk], key: str) -> list[int]:
    frame = pd.DataFrame(
        [
            {
                "id": shorten(each.id, 24),
                "text": shorten(each.text or "", 62),
                "document": shorten(each.document_id or "", 20),
                "metadata": shorten(json.dumps(each.metadata, ensure_ascii=False), 36),
            }
            for each in chunks
        ]
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
    )
    return state["selection"]["rows"]


def _delete(
    library: LibraryHandle, what: str, *, ids: list[str] | None = None, by: dict[str, object] | None = None
) -> None:
    def act() -> None:
        done = library.delete(ids, filter=by)
        session.say(f"{count(done.deleted, 'chunk')} deleted")

    confirm("Delete chunks?", f"{what} will be gone for good.", "Delete", act)


def _detail(library: LibraryHandle, picked: Chunk) -> None:
    """The chunk as it is now, to read and to change."""
    now = tried(lambda: library.get(picked.id))
    if now is None:
        return
    chunk = session.at_hand("chunk", (library.id, now.id), now)
    changed_since("chunk", chunk.revision, now.revision)
    with st.container(border=True):
        vector = chunk.embedding
        where = f", document {chunk.document_id}" if chunk.document_id else ""
        st.text(f"{chunk.id}{where}, revision {chunk.revision}")
        left, right = st.columns(2)
        key = f"{library.id}-{chunk.id}-{chunk.revision}"
        text = left.text_area("Text", value=chunk.text or "", key=f"chunk-text-{key}", height=160)
        metadata = right.text_area(
            "Metadata (JSON)",
            value=json.dumps(chunk.metadata, ensure_ascii=False, indent=2),
            key=f"chunk-metadata-{key}",
            height=160,
        )
        if vector is not None:
            numbers = json.dumps([round(float(value), 6) for value in vector.tolist()])
            with st.expander(f"Embedding, {len(vector)} numbers"):
                st.code(numbers, language=None, wrap_lines=True, height=120)
        with st.container(horizontal=True):
            if st.button("Save", type="primary", key="chunk-save"):
                with Attempt() as attempt:
                    wanted = parse_object(metadata, "The metadata") or {}
                    gone = dict.fromkeys(set(chunk.metadata) - set(wanted))
                    library.patch(
                        chunk.id, text=text or None, metadata={**wanted, **gone}, if_match=chunk.revision
                    )
                if attempt.succeeded:
                    session.let_go("chunk")
                    session.say(f"{chunk.id} is saved")
                    st.rerun()
            if st.button("Search from here", icon=":material/search:", key="chunk-search"):
                session.search_from(chunk.id)


@st.dialog("New chunk", width="medium", icon=":material/notes:", on_dismiss=session.close_dialog)
def _create(library: LibraryHandle, info: Library) -> None:
    left, right = st.columns(2)
    chunk_id = left.text_input("Id", key="create-chunk-id", placeholder="made up by the server")
    document = right.text_input("Document", key="create-chunk-document", placeholder="none")
    text = st.text_area("Text", key="create-chunk-text", height=90)
    size = f"{info.dimension} numbers" if info.dimension else "its numbers; they fix the dimension"
    vector = st.text_area(
        "Embedding", key="create-chunk-vector", height=90, placeholder=f"{size}: [0.1, 0.2, ...]"
    )
    metadata = st.text_input("Metadata (JSON)", key="create-chunk-metadata", placeholder='{"lang": "en"}')
    if st.button("Create", type="primary", key="create-chunk-go"):
        made = tried(
            lambda: library.add(
                id=chunk_id or None,
                document_id=document or None,
                text=text or None,
                embedding=parse_vector(vector, info.dimension) if vector.strip() else None,
                metadata=parse_object(metadata, "The metadata"),
            )
        )
        if made is not None:
            session.close_dialog()
            session.say(f"{made.id} is made")
            st.rerun()
