"""Compare index types: copies to compare with, and recall and latency measured live against exact answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.copies import copies_among, exact_type, make, remove
from vdb_dashboard.logic.parameters import fields_of
from vdb_dashboard.logic.words import count, plain, size
from vdb_dashboard.ui import session
from vdb_dashboard.ui.params_form import params_form
from vdb_dashboard.ui.pieces import Attempt, confirm, empty, head, tried
from vdb_dashboard.views import compare_measure

if TYPE_CHECKING:
    from vdb_dashboard.logic.copies import Copy
    from vdb_sdk import IndexTypeInfo, Library, LibraryHandle

__all__ = ["draw"]


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    head("Compare", "Index types on copies of the library, measured against exact answers.")
    library, info = session.library_or_stop(libraries)
    if not info.chunks:
        empty("No chunks yet", "Load a file under Upload; then there is something to compare.")
        return
    copies = copies_among(libraries, library.id)
    offered = tried(session.client().index_types)
    if offered is None:
        return
    types = [each for each in offered if info.metric in each.metrics]
    _table(info, copies)
    _copies(library, info, copies, types)
    compare_measure.draw(library, info, [copy for copy in copies if copy.ready], types)


def _table(info: Library, copies: list[Copy]) -> None:
    rows = [
        {
            "index": info.index.type,
            "where": info.id,
            "built with": _told(info.index.params),
            "rows are": "its own",
        }
    ]
    for copy in copies:
        behind = info.revision - copy.revision
        state = "the same" if not behind else f"{count(behind, 'write')} behind"
        rows.append(
            {
                "index": copy.type,
                "where": copy.library.id,
                "built with": _told(copy.params),
                "rows are": state if copy.ready else "unfinished",
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _told(params: object) -> str:
    words = [f"{key} = {value}" for key, value in params.items()] if isinstance(params, dict) else []
    return ", ".join(words) or "defaults"


def _copies(library: LibraryHandle, info: Library, copies: list[Copy], types: list[IndexTypeInfo]) -> None:
    """Make copies, make them anew, and delete them."""
    names = [each.name for each in types if each.name != info.index.type]
    there = [copy.type for copy in copies]
    first = exact_type(types, info.metric)
    wanted = st.pills(
        "Copies to make",
        names,
        selection_mode="multi",
        default=there or [name for name in names if name == first or name.startswith("ivf")],
        key=f"compare-types-{library.id}-{'-'.join(there)}",
    )
    builds: dict[str, dict[str, object]] = {}
    with Attempt() as formed, st.expander("Build parameters"):
        for kind in types:
            if kind.name in wanted:
                st.markdown(f"**{plain(kind.name)}**")
                builds[kind.name] = params_form(fields_of(kind.params), f"compare-{library.id}-{kind.name}")
    rows = info.chunks * (info.dimension or 0) * 4
    with st.container(horizontal=True, vertical_alignment="center"):
        word = "Make copies anew" if set(wanted) & set(there) else "Make copies"
        go = st.button(
            word,
            type="primary",
            key="compare-make",
            icon=":material/content_copy:",
            disabled=not wanted or not formed.succeeded,
        )
        if copies and st.button("Delete copies", key="compare-delete", icon=":material/delete:"):
            session.open_dialog("delete-copies")
        st.caption(
            f"Each copy is a library of its own on the server, {size(rows)} of rows and its index.",
            width="content",
        )
    if session.dialog_is("delete-copies"):
        _delete(copies)
    if go:
        bar = st.progress(0.0, text="Beginning")

        def report(what: str, share: float | None) -> None:
            bar.progress(share or 0.0, text=plain(what))

        with Attempt() as attempt:
            make(session.client(), library.id, builds, report)
        bar.empty()
        if attempt.succeeded:
            session.say(f"{count(len(builds), 'copy is', 'copies are')} ready")
            st.rerun()


def _delete(copies: list[Copy]) -> None:
    def act() -> None:
        remove(session.client(), [copy.library.id for copy in copies])
        session.say(f"{count(len(copies), 'copy', 'copies')} deleted")

    names = ", ".join(copy.library.id for copy in copies)
    confirm("Delete the copies?", f"{names}: the library itself stays.", "Delete", act)


if __name__ == "__main__":
    draw(session.libraries())
