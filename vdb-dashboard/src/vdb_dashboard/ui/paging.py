"""Pages of a list by cursors: forward by what the server gave, back by what was remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from vdb_sdk import Chunk, Document, Page, Pager

__all__ = ["one_page", "rows_key", "turn_pages"]

Item = TypeVar("Item")
Row = TypeVar("Row", "Chunk", "Document")


def one_page(key: str, pager: Callable[[str | None], Pager[Item]]) -> Page[Item]:
    """The page that is turned to; ``pager`` makes a pager that begins at a cursor."""
    cursors = _cursors(key)
    return next(iter(pager(cursors[-1]).pages()))


def rows_key(page: Page[Row]) -> str:
    """Names the rows of a page: a table of the same rows keeps what is picked in it, one of others does not."""
    return str(hash(tuple(each.id for each in page)))


def turn_pages(key: str, page: Page[Item]) -> None:
    """Draw the buttons, and remember where they lead."""
    cursors = _cursors(key)
    if len(cursors) == 1 and page.next_cursor is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Back", key=f"{key}-back", icon=":material/chevron_left:", disabled=len(cursors) == 1):
            cursors.pop()
            st.rerun()
        st.caption(f"Page {len(cursors):,}", width="content")
        if st.button(
            "Next", key=f"{key}-next", icon=":material/chevron_right:", disabled=page.next_cursor is None
        ):
            cursors.append(page.next_cursor)
            st.rerun()


def _cursors(key: str) -> list[str | None]:
    """The cursors up to the page that is shown; the first page has none."""
    return cast("list[str | None]", st.session_state.setdefault(f"cursors-{key}", [None]))
