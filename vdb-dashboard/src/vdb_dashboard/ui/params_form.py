"""Draws the fields of a parameter schema as widgets, and reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import streamlit as st

from vdb_dashboard.logic.parameters import changed
from vdb_dashboard.logic.words import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vdb_dashboard.logic.parameters import Field

__all__ = ["params_form"]


def params_form(
    fields: Sequence[Field], key: str, *, start: Mapping[str, object] | None = None, columns: int = 3
) -> dict[str, object]:
    """Draw the fields and return the parameters that differ from the defaults; raises `InputFault`.

    ``start`` are the values to begin with, such as those that the index has now.
    """
    if not fields:
        st.caption("Nothing to set: this index type takes no parameters here.")
        return {}
    places = st.columns(min(columns, len(fields)))
    values: dict[str, object] = {}
    for number, field in enumerate(fields):
        with places[number % len(places)]:
            now = (start or {}).get(field.name, field.default)
            values[field.name] = _widget(field, f"{key}-{field.name}", now)
    return changed(fields, values)


def _widget(field: Field, key: str, now: object) -> object:
    label, help_ = plain(field.label), plain(f"{field.name}: {field.help}" if field.help else field.name)
    hint = "automatic" if field.default is None else f"{field.default}"
    if field.kind == "boolean" and isinstance(now, bool):
        st.space("small")
        return st.toggle(label, value=now, key=key, help=help_)
    if field.kind == "integer":
        return st.number_input(
            label,
            min_value=None if field.minimum is None else int(field.minimum),
            max_value=None if field.maximum is None else int(field.maximum),
            value=now if isinstance(now, int) else None,
            step=1,
            placeholder=hint,
            key=key,
            help=help_,
        )
    if field.kind == "number":
        return st.number_input(
            label,
            min_value=None if field.minimum is None else float(field.minimum),
            max_value=None if field.maximum is None else float(field.maximum),
            value=float(now) if isinstance(now, (int, float)) else None,
            placeholder=hint,
            key=key,
            help=help_,
        )
    if field.kind in {"choice", "boolean"}:
        choices = list(field.choices) or [True, False]
        index = choices.index(now) if now in choices else None
        return st.selectbox(label, choices, index=index, placeholder=hint, key=key, help=help_)
    if field.kind == "text":
        return st.text_input(
            label, value="" if now is None else str(now), placeholder=hint, key=key, help=help_
        )
    text = "" if now is None else json.dumps(now)
    return st.text_input(f"{label} (JSON)", value=text, placeholder=hint, key=key, help=help_)
