"""The lower half of the compare page: measures recall and latency live, and plots them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.measuring import measure, queries_near
from vdb_dashboard.logic.parameters import fields_of, first_integer, sweep
from vdb_dashboard.logic.words import plain
from vdb_dashboard.ui import session
from vdb_dashboard.ui.charts import recall_chart, time_chart
from vdb_dashboard.ui.pieces import Attempt, empty
from vdb_dashboard.ui.sample import sample

if TYPE_CHECKING:
    from vdb_dashboard.logic.copies import Copy
    from vdb_dashboard.logic.measuring import Measured
    from vdb_sdk import IndexTypeInfo, Library, LibraryHandle

__all__ = ["draw"]

_SAMPLE = 2_000


def draw(library: LibraryHandle, info: Library, copies: list[Copy], types: list[IndexTypeInfo]) -> None:
    """Draw the settings, the button, and the figures of the last run."""
    st.subheader("Recall and latency", anchor=False)
    kinds = {each.name: each for each in types}
    lanes = {copy.type: session.client().library(copy.library.id) for copy in copies}
    lanes[info.index.type] = library
    truth = next((name for name in lanes if name in kinds and kinds[name].capabilities.get("exact")), None)
    if truth is None:
        empty(
            "Nothing exact to measure against", "Make a copy with brute above: its answers are the true ones."
        )
        return
    one, two, three, four = st.columns([1, 1, 1.6, 1], vertical_alignment="bottom")
    k = one.number_input("Hits", min_value=1, max_value=100, value=10, key="measure-k")
    many = two.number_input("Queries", min_value=5, max_value=1_000, value=50, step=5, key="measure-queries")
    swept = three.toggle("Sweep the search parameter", value=True, key="measure-sweep")
    go = four.button("Measure", type="primary", icon=":material/speed:", key="measure-go", width="stretch")
    if go:
        bar = st.progress(0.0, text="Reading rows")
        with Attempt() as attempt:
            rows = sample(library, info, _SAMPLE).rows
            queries = queries_near(rows, many)
            figures: list[Measured] = []
            true: list[list[str]] | None = None
            plan = _plan(lanes, kinds, truth, info.chunks, swept=swept)
            for place, (name, params) in enumerate(plan):
                bar.progress(place / len(plan), text=f"{plain(name)}, {place + 1} of {len(plan)}")
                told, found = measure(lanes[name], queries, true, index=name, k=k, params=params)
                figures.append(told)
                true = found if true is None else true
            st.session_state["measured"] = (library.id, info.revision, k, figures)
        bar.empty()
        if not attempt.succeeded:
            return
    last = cast("tuple[str, int, int, list[Measured]] | None", st.session_state.get("measured"))
    if last is None or last[0] != library.id:
        st.caption(
            f"Asks each index the same queries, one after the other, and holds its hits against {plain(truth)}'s."
        )
        return
    _show(last[3], last[2])
    if last[1] != info.revision:
        st.caption("The library has changed since this was measured.")


def _plan(
    lanes: dict[str, LibraryHandle], kinds: dict[str, IndexTypeInfo], truth: str, rows: int, *, swept: bool
) -> list[tuple[str, dict[str, object] | None]]:
    """Which index at which setting, the exact one first: its answers are what the others are held against."""
    plan: list[tuple[str, dict[str, object] | None]] = [(truth, None)]
    for name in lanes:
        if name == truth:
            continue
        plan.append((name, None))
        field = first_integer(fields_of(kinds[name].search_params)) if name in kinds else None
        if swept and field is not None:
            # Twice the square root of the rows is how many lists an inverted file has by default.
            most = max(8, int(2 * math.sqrt(rows)))
            plan.extend((name, {field.name: value}) for value in sweep(field, most))
    return plan


def _show(figures: list[Measured], k: int) -> None:
    """The plots, and the figures that they are drawn from."""
    left, right = st.columns(2, gap="large")
    with left:
        st.altair_chart(recall_chart(figures, k), alt="Recall over the median time of a search")
    with right:
        defaults = [one for one in figures if one.setting == "default"]
        st.altair_chart(time_chart(defaults), alt="Times of a search by index type")
    frame = pd.DataFrame(
        [
            {
                "index": one.index,
                "setting": one.setting,
                f"recall@{k}": round(one.recall, 4),
                "median, ms": round(one.server_ms, 3),
                "95 %, ms": round(one.server_p95_ms, 3),
                "with the network, ms": round(one.total_ms, 3),
                "answers": "exact" if one.exact else "approximate",
            }
            for one in figures
        ]
    )
    st.dataframe(frame, hide_index=True)
    st.caption(
        "Diamonds are the defaults. Queries are stored rows moved by a tenth of their length, asked one at a time."
    )
