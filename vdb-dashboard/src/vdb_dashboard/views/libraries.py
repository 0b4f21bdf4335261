"""The libraries: what there is, a new one, and deleting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.copies import copies_among, copy_of, remove
from vdb_dashboard.logic.inputs import parse_object
from vdb_dashboard.logic.parameters import fields_of
from vdb_dashboard.logic.words import clock, count
from vdb_dashboard.ui import session
from vdb_dashboard.ui.params_form import params_form
from vdb_dashboard.ui.pieces import Attempt, confirm, empty, head, tried
from vdb_sdk import IndexSpec

if TYPE_CHECKING:
    from vdb_sdk import Library
    from vdb_sdk.models import Metric

__all__ = ["draw"]


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    left, right = st.columns([5, 1.2], vertical_alignment="center")
    with left:
        head("Libraries", "A library holds documents and chunks, and one active index.")
    if right.button("New library", type="primary", icon=":material/add:", key="library-new", width="stretch"):
        session.open_dialog("create-library")
    originals = [library for library in libraries if copy_of(library) is None]
    if session.dialog_is("create-library"):
        _create()
    if not libraries:
        empty("No library yet", "Make one with New library, then put chunks into it under Upload.")
        return
    one, two, three, four = st.columns(4)
    one.metric("Libraries", f"{len(originals):,}", border=True)
    two.metric("Chunks", f"{sum(each.chunks for each in originals):,}", border=True)
    three.metric("Documents", f"{sum(each.documents for each in originals):,}", border=True)
    four.metric("Comparison copies", f"{len(libraries) - len(originals):,}", border=True)
    picked = _table(libraries)
    if picked is None:
        st.caption("Pick a row to work with a library, or to delete it.")
        return
    with st.container(horizontal=True):
        if copy_of(picked) is None and st.button("Work with it", key="library-use", icon=":material/check:"):
            session.choose(picked.id)
            session.say(f"{picked.id} is chosen")
            st.rerun()
        if st.button("Delete", key="library-delete", icon=":material/delete:"):
            session.open_dialog("delete-library")
    if session.dialog_is("delete-library"):
        _delete(picked, libraries)


def _table(libraries: list[Library]) -> Library | None:
    rows = [
        {
            "id": each.id,
            "name": each.name,
            "metric": each.metric,
            "dimension": each.dimension,
            "index": each.index.type,
            "documents": each.documents,
            "chunks": each.chunks,
            "kind": f"{'' if copy.ready else 'unfinished '}copy of {copy.original}"
            if (copy := copy_of(each))
            else "library",
            "updated": clock(each.updated_at),
        }
        for each in libraries
    ]
    state = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"library-table-{len(libraries)}",
        column_config={
            "documents": st.column_config.NumberColumn(format="localized"),
            "chunks": st.column_config.NumberColumn(format="localized"),
            "updated": st.column_config.TextColumn("updated, UTC"),
        },
    )
    picked = state["selection"]["rows"]
    return libraries[picked[0]] if picked and picked[0] < len(libraries) else None


def _delete(library: Library, libraries: list[Library]) -> None:
    copies = copies_among(libraries, library.id)
    with_copies = f" and {count(len(copies), 'comparison copy', 'comparison copies')} of it" if copies else ""

    def act() -> None:
        client = session.client()
        remove(client, [copy.library.id for copy in copies])
        client.delete_library(library.id)
        session.say(f"{library.id} is deleted")

    confirm(
        "Delete the library?",
        f"{library.id} with {count(library.chunks, 'chunk')} and {count(library.documents, 'document')}{with_copies} "
        "will be gone for good.",
        "Delete",
        act,
    )


@st.dialog("New library", width="medium", icon=":material/database:", on_dismiss=session.close_dialog)
def _create() -> None:
    left, right = st.columns(2)
    library_id = left.text_input(
        "Id",
        key="create-id",
        placeholder="made up by the server",
        help="Letters, digits, dots, dashes, underscores.",
    )
    name = right.text_input("Name", key="create-name", placeholder="for people; the id where it is empty")
    metric = left.segmented_control(
        "Metric", ["cosine", "dot", "l2"], default="cosine", required=True, key="create-metric"
    )
    dimension = right.number_input(
        "Dimension",
        min_value=1,
        value=None,
        step=1,
        placeholder="by the first embedding",
        key="create-dimension",
    )
    offered = tried(session.client().index_types)
    if offered is None:
        return
    types = [each for each in offered if metric in each.metrics]
    names = [each.name for each in types]
    index = left.selectbox("Index type", names, key="create-index")
    metadata = right.text_input("Metadata (JSON)", key="create-metadata", placeholder='{"owner": "me"}')
    kind = next((each for each in types if each.name == index), None)
    params: dict[str, object] = {}
    with Attempt() as formed:
        if kind is not None:
            params = params_form(fields_of(kind.params), f"create-{kind.name}")
    if st.button("Create", type="primary", key="create-go", disabled=not formed.succeeded):
        made = tried(
            lambda: session.client().create_library(
                name.strip() or library_id.strip() or "Library",
                id=library_id.strip() or None,
                metric=cast("Metric", metric),
                dimension=dimension,
                index=IndexSpec(type=index or "brute", params=params),
                metadata=parse_object(metadata, "The metadata"),
            )
        )
        if made is not None:
            session.close_dialog()
            session.choose(made.id)
            session.say(f"{made.id} is made")
            st.rerun()


if __name__ == "__main__":
    draw(session.libraries())
