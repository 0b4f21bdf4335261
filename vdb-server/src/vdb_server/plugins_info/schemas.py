"""Bodies of the routes that tell what is installed, for the documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vdb_server.wire.models import View

__all__ = ["CapabilitiesView", "ComplexityView", "IndexTypePage", "IndexTypeView", "PluginPage", "PluginView"]


class CapabilitiesView(View):
    """What an index type claims."""

    exact: bool
    native_filter: bool
    deterministic: bool
    releases_gil: bool


class ComplexityView(View):
    """Asymptotic costs: n rows, d dimensions, k hits, and the type's parameters."""

    build: str
    query: str
    space: str


class IndexTypeView(View):
    """An index type that libraries may choose."""

    name: str
    summary: str
    distribution: str
    metrics: list[Literal["cosine", "dot", "l2"]]
    capabilities: CapabilitiesView
    complexity: ComplexityView | None
    params: dict[str, object] = Field(description="JSON Schema of the build parameters.")
    search_params: dict[str, object] = Field(description="JSON Schema of the search parameters.")


class IndexTypePage(View):
    """Every index type."""

    items: list[IndexTypeView]
    next_cursor: None


class PluginView(View):
    """A plugin, loaded or not."""

    name: str
    distribution: str
    version: str | None
    module: str
    state: Literal["loaded", "failed", "disabled", "incompatible", "conflict"]
    reason: str | None = Field(description="Why it is not loaded, and what to do about it.")
    provides: list[str] = Field(examples=[["index_type:brute"]])
    load_ms: float


class PluginPage(View):
    """Every plugin that was found."""

    items: list[PluginView]
    next_cursor: None
