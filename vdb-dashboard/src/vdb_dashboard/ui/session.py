"""What a browser session remembers: the connection, the library that is chosen, a word about what was just done."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar, cast

import streamlit as st

import vdb_sdk
from vdb_dashboard.logic.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_sdk import Client, Library, LibraryHandle

__all__ = [
    "CHOSEN",
    "LIBRARIES",
    "Connection",
    "at_hand",
    "choose",
    "client",
    "close_dialog",
    "connection",
    "dialog_is",
    "embedders",
    "forget",
    "is_shared",
    "let_go",
    "libraries",
    "library_or_stop",
    "open_dialog",
    "reconnect",
    "remembered",
    "say",
    "search_from",
    "settle",
    "show_said",
]

CHOSEN: Final = "chosen-library"
"""Key of the id of the library that is chosen."""

LIBRARIES: Final = "libraries"
"""Key of the libraries that this run has read."""

_CONNECTION: Final = "connection"
_CLIENT: Final = "client"
_SAID: Final = "said"
_DIALOG: Final = "dialog"
_WISH: Final = "next-library"
_TIMEOUT_S: Final = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A server and the key for it."""

    url: str
    """Where the server is."""

    api_key: str | None = field(default=None, repr=False)
    """Its key; never shown, not even by ``repr``."""


def is_shared() -> bool:
    """Whether others than this machine's user may open the dashboard: its server is fixed then, and lends no key."""
    return bool(os.environ.get("VDB_DASHBOARD_SHARED"))


def connection() -> Connection:
    """The connection of this session; the environment's until another was entered."""
    if _CONNECTION not in st.session_state:
        key = os.environ.get("VDB_API_KEY") or os.environ.get("VDB_READ_ONLY_API_KEY")
        url = os.environ.get("VDB_URL") or "http://127.0.0.1:8000"
        st.session_state[_CONNECTION] = Connection(url=url, api_key=key or None)
    return cast("Connection", st.session_state[_CONNECTION])


def reconnect(url: str, api_key: str | None) -> None:
    """Talk to another server, or with another key; what was remembered of the one before is forgotten."""
    if (old := cast("Client | None", st.session_state.get(_CLIENT))) is not None:
        old.close()
    st.session_state.clear()
    st.session_state[_CONNECTION] = Connection(url=url, api_key=api_key)


def client() -> Client:
    """The client of this session."""
    if _CLIENT not in st.session_state:
        told = connection()
        made = vdb_sdk.connect(told.url, api_key=told.api_key, timeout=_TIMEOUT_S, retries=1)
        st.session_state[_CLIENT] = made
    return cast("Client", st.session_state[_CLIENT])


def choose(library_id: str) -> None:
    """Make a library the one that the pages are about, from the next run on: a drawn widget keeps its value in this."""
    st.session_state[_WISH] = library_id


def settle(library_ids: list[str]) -> None:
    """Carry out a choice, and choose the first where what was chosen is gone. Before the widget is drawn."""
    wish = st.session_state.pop(_WISH, None)
    if wish in library_ids:
        st.session_state[CHOSEN] = wish
    elif st.session_state.get(CHOSEN) not in library_ids:
        st.session_state[CHOSEN] = library_ids[0]


def open_dialog(name: str) -> None:
    """Have a dialog drawn, in this run and those that follow, until it is closed."""
    st.session_state[_DIALOG] = name


def close_dialog() -> None:
    """Have no dialog drawn."""
    st.session_state.pop(_DIALOG, None)


def dialog_is(name: str) -> bool:
    """Whether this dialog is open."""
    return st.session_state.get(_DIALOG) == name


def remembered(key: str, version: object, make: Callable[[], T]) -> T:
    """A value that is kept as long as its version stays the same, such as what was read of a library at a revision."""
    kept = cast("tuple[object, T] | None", st.session_state.get(f"remembered-{key}"))
    if kept is not None and kept[0] == version:
        return kept[1]
    value = make()
    st.session_state[f"remembered-{key}"] = (version, value)
    return value


def forget(*prefixes: str) -> None:
    """Forget what widgets and pages keep under keys that begin so."""
    for key in list(st.session_state):
        if str(key).startswith(prefixes):
            del st.session_state[key]


def at_hand(key: str, identity: object, now: T) -> T:
    """What somebody is changing, as it was when they began: kept while the identity stays, until it is let go.

    What others write meanwhile does not slip in under their hands; a save names the revision that they saw.
    """
    return remembered(f"at-hand-{key}", identity, lambda: now)


def let_go(key: str) -> None:
    """Have `at_hand` take what there is now."""
    st.session_state.pop(f"remembered-at-hand-{key}", None)


def say(text: str) -> None:
    """Have the next run say, for a moment, what was done."""
    st.session_state.setdefault(_SAID, []).append(text)


def show_said() -> None:
    """Show what there is to say."""
    for text in cast("list[str]", st.session_state.pop(_SAID, [])):
        st.toast(plain(text), icon=":material/check_circle:")


def search_from(chunk_id: str) -> NoReturn:
    """Go to the search page with a stored chunk as the example."""
    st.session_state["wish-example"] = chunk_id
    st.switch_page("views/search.py")


def embedders() -> list[str]:
    """The embedders that the server has installed, by name."""
    provided = [each for plugin in client().plugins() for each in plugin.provides]
    return [each.removeprefix("embedder:") for each in provided if each.startswith("embedder:")]


def libraries() -> list[Library]:
    """The libraries as this run has read them."""
    return cast("list[Library]", st.session_state.get(LIBRARIES, []))


def library_or_stop(found: list[Library]) -> tuple[LibraryHandle, Library]:
    """The library that is chosen; where there is none the page ends with what to do."""
    from vdb_dashboard.ui.pieces import empty

    chosen = cast("str | None", st.session_state.get(CHOSEN))
    info = next((each for each in found if each.id == chosen), None)
    if info is None:
        empty("No library yet", "Make one under Libraries; then come back here.")
        st.stop()
    return client().library(info.id), info
