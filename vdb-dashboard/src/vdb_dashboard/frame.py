"""The frame around every page: navigation, the choice of a library, and the state of the connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st

from vdb_dashboard.logic.copies import copy_of
from vdb_dashboard.logic.words import plain
from vdb_dashboard.ui import session
from vdb_dashboard.ui.pieces import Attempt, style
from vdb_dashboard.views import connect

if TYPE_CHECKING:
    from vdb_sdk import Library

__all__ = ["LOGO", "run"]

LOGO: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 84 28" width="84" height="28">'
    '<circle cx="7" cy="8" r="4" fill="#9db5ec"/><circle cx="19" cy="14" r="5.5" fill="#2f5fd0"/>'
    '<circle cx="8" cy="21" r="3.2" fill="#e07b39"/>'
    '<text x="32" y="21" font-family="sans-serif" font-size="20" font-weight="700" fill="#1b2433">vdb</text></svg>'
)

_VIEWS: Final = Path(__file__).with_name("views")
_NAVIGATION: Final = (
    ("libraries", "Libraries", "database", "libraries"),
    ("upload", "Upload", "upload_file", "upload"),
    ("data", "Data", "table_rows", "data"),
    ("index", "Index", "account_tree", "index"),
    ("search", "Search", "search", "search"),
    ("compare", "Compare", "speed", "compare"),
    ("connect", "Connection", "lan", "connection"),
)
_MOST: Final = 1_000
"""Libraries that are listed; a server with more is searched by its other clients."""


def run() -> None:
    """Draw the page that was asked for."""
    style()
    st.logo(LOGO, size="large")
    session.show_said()
    chosen = st.navigation(
        [
            st.Page(
                _VIEWS / f"{name}.py",
                title=title,
                icon=f":material/{icon}:",
                url_path=path,
                default=not place,
            )
            for place, (name, title, icon, path) in enumerate(_NAVIGATION)
        ]
    )
    found: list[Library] = []
    with Attempt() as attempt:
        for library in session.client().libraries():
            found.append(library)
            if len(found) == _MOST:
                break
    if st.session_state.get("page") != chosen.url_path:
        st.session_state["page"] = chosen.url_path
        session.close_dialog()
    _sidebar(found, connected=attempt.succeeded)
    st.session_state[session.LIBRARIES] = found
    if attempt.succeeded or chosen.url_path == "connection":
        chosen.run()
    else:
        connect.draw([], connected=False)


def _sidebar(found: list[Library], *, connected: bool) -> None:
    with st.sidebar:
        originals = [library.id for library in found if copy_of(library) is None]
        names = {library.id: library.name for library in found}
        if originals:
            session.settle(originals)
            st.selectbox(
                "Library",
                originals,
                key=session.CHOSEN,
                format_func=lambda id_: id_ if names.get(id_, id_) == id_ else f"{names.get(id_)} · {id_}",
            )
        if len(found) == _MOST:
            st.caption(f"The first {_MOST:,} libraries are listed.")
        url = plain(session.connection().url.removeprefix("http://"))
        st.caption(f":green[●] {url}" if connected else f":red[●] {url}")
