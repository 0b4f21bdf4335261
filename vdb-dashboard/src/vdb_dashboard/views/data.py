"""What a library holds: its documents and chunks, to browse, make, change and delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from vdb_dashboard.ui import session
from vdb_dashboard.ui.pieces import head
from vdb_dashboard.views import data_chunks, data_documents

if TYPE_CHECKING:
    from vdb_sdk import Library

__all__ = ["draw"]


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    head("Data", "The chunks and documents of the library.")
    library, info = session.library_or_stop(libraries)
    what = st.segmented_control(
        "What to show",
        ["Chunks", "Documents"],
        default="Chunks",
        required=True,
        key="data-what",
        format_func=lambda word: f"{word} · {info.chunks if word == 'Chunks' else info.documents:,}",
        label_visibility="collapsed",
    )
    if what == "Documents":
        data_documents.draw(library)
    else:
        data_chunks.draw(library, info)


if __name__ == "__main__":
    draw(session.libraries())
