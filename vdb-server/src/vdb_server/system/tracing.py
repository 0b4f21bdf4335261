"""Traces: FastAPI's own telemetry, which sends nothing unless the standard ``OTEL_`` variables name a collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from starlette.types import Scope

    from vdb_core.services import SearchAnswer

__all__ = ["describe", "is_traced", "telemetry_config", "trace_ids"]

_UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by programs: they would be most of all traces."""


def telemetry_config(*, trusted: bool) -> TelemetryConfig:
    """Settings of FastAPI's telemetry.

    Args:
        trusted: the server is embedded in a program, whose own traces are its own business.
    """
    return {
        "tracing": not trusted,
        "metrics": not trusted,
        # What goes wrong is in our own log, with the request's id and without what callers sent.
        "logs": False,
        # Steps of FastAPI itself; what a search spends its time on is in the attributes of its span.
        "operation_spans": False,
        "auto_configure": not trusted,
        "exclude": _is_untraced,
    }


def is_traced() -> bool:
    """Whether anything takes spans, asked once the exporters were set up."""
    return not isinstance(trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


def describe(answer: SearchAnswer, library_id: str) -> None:
    """Say on the request's span what a search did."""
    trace.get_current_span().set_attributes(
        {
            "vdb.library_id": library_id,
            "vdb.index_type": str(answer.index["type"]),
            "vdb.exact": bool(answer.index["exact"]),
            "vdb.route": tuple(answer.route),
            "vdb.hits": len(answer.hits),
            "vdb.took_ms": answer.took_ms,
        }
    )


def trace_ids() -> dict[str, str]:
    """Ids of the trace and of the span that are under way, for the log; empty where there are none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _is_untraced(scope: Scope) -> bool:
    return scope.get("path") in _UNTRACED
