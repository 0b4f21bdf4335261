"""The charts: the map of embeddings, and recall over time. Altair, in the look of the theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import altair as alt
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdb_dashboard.logic.measuring import Measured

__all__ = ["BLUE", "embedding_map", "recall_chart", "time_chart"]

Drawn: TypeAlias = alt.LayerChart | alt.FacetChart
"""What Altair's layers come to."""

BLUE: Final = "#2f5fd0"
ORANGE: Final = "#e07b39"
GREY: Final = "#b9c2d0"
COLOURS: Final = [BLUE, ORANGE, "#2a9d72", "#a04fb5", "#c23b5a", "#6b7a90"]
_HEIGHT: Final = 380


def embedding_map(points: pd.DataFrame) -> Drawn:
    """Points ``x, y, kind (chunk, hit, query), id, text, score``; hits lit, the query a cross on top."""
    order = ["chunk", "hit", "query"]
    there = set(points["kind"].tolist())
    shown = [kind for kind in order if kind in there]
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=order, range=[GREY, BLUE, ORANGE]),
        legend=alt.Legend(title=None, orient="top", values=shown),
    )
    axis = alt.Axis(title=None, labels=False, ticks=False, domain=False, gridColor="#eef1f6")
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(points).encode(
        x=alt.X("x:Q", axis=axis, scale=scale),
        y=alt.Y("y:Q", axis=axis, scale=scale),
        color=colour,
        tooltip=[alt.Tooltip("id:N"), alt.Tooltip("text:N"), alt.Tooltip("score:N")],
    )
    layers = [
        base.transform_filter(alt.datum.kind == "chunk").mark_circle(size=28, opacity=0.55),
        base.transform_filter(alt.datum.kind == "hit").mark_circle(size=130, opacity=0.95, stroke="white"),
        base.transform_filter(alt.datum.kind == "query").mark_point(
            shape="cross", size=220, filled=True, opacity=1, stroke="white"
        ),
    ]
    return alt.layer(*layers).properties(height=_HEIGHT).interactive()


def recall_chart(figures: Sequence[Measured], k: int) -> Drawn:
    """Recall over the median time within the server; a line an index type in the order of the settings."""
    frame = pd.DataFrame(
        [
            {
                "index": one.index,
                "setting": one.setting,
                "recall": one.recall,
                "ms": one.server_ms,
                "order": place,
                "swept": one.setting != "default",
            }
            for place, one in enumerate(figures)
        ]
    )
    least = min(one.recall for one in figures)
    base = alt.Chart(frame).encode(
        x=alt.X("ms:Q", title="median time in the server, ms", scale=alt.Scale(zero=False, nice=True)),
        y=alt.Y(
            "recall:Q",
            title=f"recall@{k}",
            scale=alt.Scale(domain=[max(0.0, least - 0.05), 1.02], nice=False),
            axis=alt.Axis(labelExpr="datum.value > 1 ? '' : datum.label"),
        ),
        color=alt.Color(
            "index:N",
            scale=alt.Scale(range=COLOURS),
            legend=alt.Legend(title=None, orient="top", symbolOpacity=1),
        ),
        tooltip=[
            alt.Tooltip("index:N"),
            alt.Tooltip("setting:N"),
            alt.Tooltip("recall:Q", format=".4f"),
            alt.Tooltip("ms:Q", format=".3f"),
        ],
    )
    swept = base.transform_filter(alt.datum.swept)
    line = swept.mark_line(strokeWidth=1.5, opacity=0.45).encode(order="order:Q")
    dots = swept.mark_circle(size=70, opacity=1)
    defaults = base.transform_filter(~alt.datum.swept).mark_point(
        shape="diamond", size=170, filled=True, opacity=1, stroke="white"
    )
    return alt.layer(line, dots, defaults).properties(height=_HEIGHT)


def time_chart(figures: Sequence[Measured]) -> alt.Chart:
    """Times of each index type at its defaults: median and 95 % within the server, and with the way there and back."""
    words = {"server, median": "server_ms", "server, 95 %": "server_p95_ms", "round trip": "total_ms"}
    frame = pd.DataFrame(
        [
            {"index": one.index, "time": word, "ms": getattr(one, name)}
            for one in figures
            for word, name in words.items()
        ]
    )
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y("index:N", title=None, axis=alt.Axis(labelLimit=140)),
            yOffset=alt.YOffset("time:N", sort=list(words)),
            x=alt.X("ms:Q", title="ms"),
            color=alt.Color(
                "time:N",
                sort=list(words),
                scale=alt.Scale(domain=list(words), range=[BLUE, "#9db5ec", GREY]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=["index:N", "time:N", alt.Tooltip("ms:Q", format=".3f")],
        )
        .properties(height=_HEIGHT)
    )
