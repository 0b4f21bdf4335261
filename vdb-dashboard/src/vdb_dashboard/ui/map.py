"""The map of a library's embeddings with hits and query lit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from vdb_dashboard.logic.inputs import shorten
from vdb_dashboard.logic.projection import fit, unit_rows
from vdb_dashboard.ui import session
from vdb_dashboard.ui.charts import embedding_map
from vdb_dashboard.ui.pieces import tried
from vdb_dashboard.ui.sample import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vdb_dashboard.logic.projection import Projection
    from vdb_sdk import Hit, Library, LibraryHandle

__all__ = ["draw_map"]

_SIZES = (500, 2_000, 5_000)


def draw_map(
    library: LibraryHandle, info: Library, hits: Sequence[Hit], query: NDArray[np.float32] | None
) -> None:
    """Draw it; hits that are not among the rows shown are put where they belong."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader("Map", anchor=False, width="content")
        most = st.segmented_control(
            "Chunks shown",
            _SIZES,
            default=_SIZES[1],
            required=True,
            key="map-size",
            format_func="{:,}".format,
        )
    taken = tried(lambda: sample(library, info, int(most or _SIZES[1])))
    if taken is None or not taken.ids:
        return
    as_compared = unit_rows if info.metric == "cosine" else np.asarray
    plane = session.remembered(
        "plane", (library.id, info.revision, most), lambda: fit(as_compared(taken.rows))
    )
    vectors = [(hit, hit.embedding) for hit in hits if hit.embedding is not None]
    frames = [_points("chunk", plane.apply(as_compared(taken.rows)), taken.ids, taken.texts)]
    if vectors:
        rows = np.stack([vector for _, vector in vectors])
        texts = [shorten(hit.text or "", 120) for hit, _ in vectors]
        lit = _points("hit", plane.apply(as_compared(rows)), [hit.id for hit, _ in vectors], texts)
        lit["score"] = [f"{hit.score:.4f}" for hit, _ in vectors]
        frames.append(lit)
    if query is not None:
        frames.append(_points("query", plane.apply(as_compared(query[None, :])), ["the query"], [""]))
    st.altair_chart(embedding_map(pd.concat(frames, ignore_index=True)), alt="A map of the embeddings")
    st.caption(_told(plane, len(taken.ids), info.chunks))


def _points(kind: str, places: NDArray[np.float64], ids: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "kind": kind,
            "id": list(ids),
            "text": list(texts),
            "score": "",
        }
    )


def _told(plane: Projection, shown: int, chunks: int) -> str:
    some = "All" if shown >= chunks else f"The first {shown:,} of {chunks:,}"
    return (
        f"{some} chunks on their two principal components, which hold {plane.shown:.0%} of the variance. "
        "Scroll to zoom, drag to move."
    )
