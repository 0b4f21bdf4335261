"""The hits of several indexes as HTML, beside each other rank by rank. Everything that comes from data is escaped."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from vdb_dashboard.logic.inputs import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdb_sdk import Hit, SearchResult

__all__ = ["lanes"]

_ALONE = 400
_BESIDE = 150


def lanes(answers: Sequence[tuple[str, SearchResult]]) -> str:
    """A column for each index, a row for each rank.

    Where one of several answers is exact, the hits of the others that are not among its hits are marked.
    """
    exact = next((result for _, result in answers if result.index.exact), None)
    truth = exact.ids if exact is not None and len(answers) > 1 else None
    cells = [_head(title, result, None if result is exact else truth) for title, result in answers]
    most = _ALONE if len(answers) == 1 else _BESIDE
    for rank in range(max((len(result) for _, result in answers), default=0)):
        for _, result in answers:
            marked = truth is not None and rank < len(result) and result[rank].id not in truth
            cells.append(_card(rank, result, most, marked=marked))
    if len(cells) == len(answers):
        cells += ['<div class="vdb-hit">Nothing matches.</div>' for _ in answers]
    return f'<section class="vdb-lanes" style="--lanes:{len(answers)}">{"".join(cells)}</section>'


def _head(title: str, result: SearchResult, truth: Sequence[str] | None) -> str:
    told = ["exact" if result.index.exact else "approximate", f"{result.took_ms:.2f} ms"]
    if truth is not None:
        told.append(f"{len(set(result.ids) & set(truth))} of {len(truth)} exact hits")
    return f"<header><b>{escape(title)}</b><span>{escape(' · '.join(told))}</span></header>"


def _card(rank: int, result: SearchResult, most: int, *, marked: bool) -> str:
    if rank >= len(result):
        return "<div></div>"
    hit: Hit = result[rank]
    best = result[0].score
    # Under l2 scores are negative distances: no share of the best, so no bar.
    share = hit.score / best if hit.score > 0 and best > 0 else 0.0
    bar = f'<div class="bar"><i style="width:{100 * share:.1f}%"></i></div>' if share else ""
    text = f"<p>{escape(shorten(hit.text, most))}</p>" if hit.text else ""
    words = ["not among the exact hits"] if marked else []
    words += [hit.document_id] if hit.document_id else []
    words += [f"{key} {_shown(value)}" for key, value in hit.metadata.items()]
    meta = f'<div class="meta">{escape(shorten(" · ".join(words), most * 2 // 3))}</div>' if words else ""
    return (
        f'<div class="vdb-hit{" marked" if marked else ""}"><div class="line"><span class="rank">{rank + 1}</span>'
        f'<span class="id">{escape(hit.id)}</span><span class="score">{hit.score:.4f}</span></div>{bar}{text}{meta}</div>'
    )


def _shown(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
