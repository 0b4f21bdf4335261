"""The documents of a library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.inputs import parse_object, shorten
from vdb_dashboard.logic.words import clock
from vdb_dashboard.ui import session
from vdb_dashboard.ui.paging import one_page, rows_key, turn_pages
from vdb_dashboard.ui.pieces import Attempt, changed_since, confirm, empty, tried

if TYPE_CHECKING:
    from vdb_sdk import Document, LibraryHandle

__all__ = ["draw"]

_A_PAGE = 25


def draw(library: LibraryHandle) -> None:
    """Draw the list, and the document that is picked."""
    if st.button("New document", icon=":material/add:", key="document-new"):
        session.open_dialog("create-document")
    if session.dialog_is("create-document"):
        _create(library)
    key = f"documents-{library.id}"
    page = tried(lambda: one_page(key, lambda cursor: library.documents(page_size=_A_PAGE, cursor=cursor)))
    if page is None:
        return
    if not page.items:
        empty(
            "No documents",
            "Chunks can do without. Make one here, or let an upload make those that its rows name.",
        )
        return
    frame = pd.DataFrame(
        [
            {
                "id": shorten(each.id, 48),
                "metadata": shorten(json.dumps(each.metadata, ensure_ascii=False), 60),
                "created, UTC": clock(each.created_at),
                "updated, UTC": clock(each.updated_at),
            }
            for each in page.items
        ]
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"document-table-{rows_key(page)}",
    )
    turn_pages(key, page)
    picked = state["selection"]["rows"]
    if picked and picked[0] < len(page.items):
        _detail(library, page.items[picked[0]])
    else:
        st.caption("Pick a row to change or delete a document.")


def _detail(library: LibraryHandle, now: Document) -> None:
    document = session.at_hand("document", (library.id, now.id), now)
    changed_since("document", document.revision, now.revision)
    with st.container(border=True):
        st.text(document.id)
        text = st.text_area(
            "Metadata (JSON)",
            value=json.dumps(document.metadata, ensure_ascii=False, indent=2),
            key=f"document-metadata-{document.id}-{document.revision}",
            height=160,
        )
        with st.container(horizontal=True):
            if st.button("Save", type="primary", key="document-save"):
                with Attempt() as attempt:
                    wanted = parse_object(text, "The metadata") or {}
                    # A merge patch keeps what it does not name: what was taken out is set to null.
                    gone = dict.fromkeys(set(document.metadata) - set(wanted))
                    library.update_document(
                        document.id, metadata={**wanted, **gone}, if_match=document.revision
                    )
                if attempt.succeeded:
                    session.let_go("document")
                    session.say(f"{document.id} is saved")
                    st.rerun()
            if st.button("Delete", icon=":material/delete:", key="document-delete"):
                session.open_dialog("delete-document")
    if session.dialog_is("delete-document"):

        def act() -> None:
            library.delete_document(document.id)
            session.say(f"{document.id} is deleted")

        confirm("Delete the document?", f"{document.id} and its chunks will be gone for good.", "Delete", act)


@st.dialog("New document", icon=":material/description:", on_dismiss=session.close_dialog)
def _create(library: LibraryHandle) -> None:
    document_id = st.text_input("Id", key="create-document-id", placeholder="made up by the server")
    metadata = st.text_area("Metadata (JSON)", key="create-document-metadata", placeholder='{"kind": "book"}')
    if st.button("Create", type="primary", key="create-document-go"):
        made = tried(
            lambda: library.create_document(
                document_id or None, metadata=parse_object(metadata, "The metadata")
            )
        )
        if made is not None:
            session.close_dialog()
            session.say(f"{made.id} is made")
            st.rerun()
