"""Search: by a text, a stored chunk or a vector, with a filter; index types beside each other, and the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import streamlit as st

from vdb_dashboard.logic.copies import copies_among
from vdb_dashboard.logic.inputs import InputFault, parse_object, parse_vector, shorten
from vdb_dashboard.logic.lanes import lanes
from vdb_dashboard.logic.parameters import fields_of
from vdb_dashboard.logic.words import plain
from vdb_dashboard.ui import session
from vdb_dashboard.ui.map import draw_map
from vdb_dashboard.ui.params_form import params_form
from vdb_dashboard.ui.pieces import Attempt, empty, head

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdb_dashboard.logic.copies import Copy
    from vdb_sdk import IndexTypeInfo, Library, LibraryHandle, SearchResult

__all__ = ["draw"]

_MODES = ("Text", "Stored chunk", "Vector")
_OFFERED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What is asked."""

    text: str | None = None
    vector: NDArray[np.float32] | None = None
    k: int
    filter: dict[str, object] | None
    min_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What came back, kept until the next search."""

    library_id: str
    vector: NDArray[np.float32] | None
    lanes: list[tuple[str, SearchResult]]


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    head("Search", "By a text, a stored chunk or a vector; index types beside each other.")
    library, info = session.library_or_stop(libraries)
    if not info.chunks:
        empty("No chunks yet", "Load a file under Upload, or make a chunk under Data.")
        return
    copies = copies_among(libraries, library.id)
    if (wish := st.session_state.pop("wish-example", None)) is not None:
        st.session_state["search-mode"] = "Stored chunk"
        st.session_state["search-example"] = wish
    with Attempt() as attempt:
        types = {each.name: each for each in session.client().index_types()}
        _ask(library, info, copies, types)
    answer = cast("_Answer | None", st.session_state.get("answer"))
    if attempt.succeeded and answer is not None and answer.library_id == library.id:
        _show(answer)
        found = {hit.id: hit for _, result in answer.lanes for hit in result}
        draw_map(library, info, list(found.values()), answer.vector)


def _ask(library: LibraryHandle, info: Library, copies: list[Copy], types: dict[str, IndexTypeInfo]) -> None:
    """The query, and on the button the answers."""
    mode = st.segmented_control(
        "Search by",
        _MODES,
        default="Text" if info.embedder else "Stored chunk",
        required=True,
        key="search-mode",
        label_visibility="collapsed",
    )
    left, middle, right = st.columns([6, 1.1, 1.2], vertical_alignment="bottom")
    with left:
        text, example, vector = _input(library, info, mode or "Stored chunk")
    k = middle.number_input("Hits", min_value=1, max_value=1_000, value=10, key="search-k")
    go = right.button("Search", type="primary", icon=":material/search:", key="search-go", width="stretch")
    one, two = st.columns([6, 2.3], vertical_alignment="bottom")
    condition = one.text_input(
        "Filter (JSON)", key="search-filter", placeholder='{"lang": "en", "year": {"$gte": 2024}}'
    )
    least = two.number_input("Least score", value=None, placeholder="any", key="search-least", format="%.4f")
    asked = _asked(library, info, copies)
    with st.expander("Search parameters"):
        params: dict[str, dict[str, object]] = {}
        for name in asked:
            st.markdown(f"**{plain(name)}**")
            fields = fields_of(types[name].search_params) if name in types else []
            params[name] = params_form(fields, f"search-{library.id}-{name}")
    if not go:
        return
    given: NDArray[np.float32] | None = None
    if mode == "Stored chunk":
        if not example:
            raise InputFault("No chunk is chosen: pick one, or type its id.")
        given = library.get(example).embedding
    elif mode == "Vector":
        given = parse_vector(vector, info.dimension)
    elif not text.strip():
        raise InputFault("The text is empty: type what to look for.")
    query = _Query(
        text=text if given is None else None,
        vector=given,
        k=k,
        filter=parse_object(condition, "The filter"),
        min_score=least,
    )
    st.session_state.pop("answer", None)
    answers = [(name, _search(handle, query, params[name])) for name, handle in asked.items()]
    st.session_state["answer"] = _Answer(library_id=library.id, vector=given, lanes=answers)


def _input(library: LibraryHandle, info: Library, mode: str) -> tuple[str, str | None, str]:
    """The text, the id of a stored chunk, the vector: whichever the mode asks for."""
    if mode == "Text":
        return (
            st.text_input("Text", key="search-text", placeholder="what to look for", help=_reader(info)),
            None,
            "",
        )
    if mode == "Vector":
        hint = f"{info.dimension} numbers: [0.1, 0.2, ...]"
        return "", None, st.text_input("Vector", key="search-vector", placeholder=hint)
    first = session.remembered(
        "first-chunks",
        (library.id, info.revision),
        lambda: next(iter(library.chunks(page_size=_OFFERED).pages())).items,
    )
    texts = {chunk.id: chunk.text or "" for chunk in first}
    options = list(texts)
    if (typed := st.session_state.get("search-example")) and typed not in texts:
        options.insert(0, str(typed))
    example = st.selectbox(
        "Chunk",
        options,
        key="search-example",
        accept_new_options=True,
        placeholder="an id",
        format_func=lambda id_: shorten(f"{id_} · {texts[id_]}" if texts.get(id_) else str(id_), 90),
        help=f"The first {_OFFERED} are offered; any other id may be typed.",
    )
    return "", example, ""


def _reader(info: Library) -> str:
    """Which embedder turns the text into a vector."""
    return f"Read by {plain(info.embedder)}." if info.embedder else "This library has no embedder."


def _asked(library: LibraryHandle, info: Library, copies: list[Copy]) -> dict[str, LibraryHandle]:
    """The indexes that answer: the library's own, and the copies that are chosen."""
    asked = {info.index.type: library}
    others = {copy.type: copy for copy in copies if copy.ready and copy.type != info.index.type}
    if not others:
        st.caption("To see other index types beside this one, make comparison copies under Compare.")
        return asked
    chosen = st.pills(
        f"Beside {plain(info.index.type)}",
        list(others),
        selection_mode="multi",
        default=list(others)[:3],
        key=f"search-beside-{library.id}",
    )
    for name in chosen:
        asked[name] = session.client().library(others[name].library.id)
        if others[name].revision != info.revision:
            st.caption(f"{plain(name)} is a copy of an earlier revision: renew it under Compare.")
    return asked


def _search(library: LibraryHandle, query: _Query, params: dict[str, object]) -> SearchResult:
    return library.search(
        query.vector,
        text=query.text,
        k=query.k,
        filter=query.filter,
        params=params or None,
        min_score=query.min_score,
        include=("text", "metadata", "embedding"),
    )


def _show(answer: _Answer) -> None:
    """The hits, a column for each index."""
    for name, result in answer.lanes:
        for warning in result.warnings:
            st.warning(f"{plain(name)}: {plain(warning)}", icon=":material/warning:")
    st.html(lanes(answer.lanes))


if __name__ == "__main__":
    draw(session.libraries())
