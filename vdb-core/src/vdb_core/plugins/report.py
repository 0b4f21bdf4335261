"""What became of each plugin: the records behind ``GET /v1/plugins`` and ``vdb plugins``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PluginReport", "PluginState"]

PluginState = Literal["loaded", "failed", "disabled", "incompatible", "conflict"]
"""``loaded``: everything it provides is there. Any other state: nothing of it is.

``failed``: its import or a hook raised, or it returned what no hook may return. ``disabled``: never imported.
``incompatible``: made for another version of the plugin interface. ``conflict``: a name of its is taken.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginReport:
    """One plugin, loaded or not."""

    name: str
    """The name of its entry point, or the name under which it was registered."""

    distribution: str
    """The distribution that brings it, or where it came from when none does."""

    version: str | None
    """The version of that distribution."""

    module: str
    """What the entry point names, ``module`` or ``module:object``."""

    state: PluginState
    """What became of it."""

    reason: str | None = None
    """Why it is not loaded, and what to do about it."""

    provides: tuple[str, ...] = ()
    """What it registered, such as ``index_type:brute``."""

    load_seconds: float = 0.0
    """How long its import and its hooks took: a slow plugin slows every start."""

    def to_json(self) -> dict[str, object]:
        """Make what REST shows."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "module": self.module,
            "state": self.state,
            "reason": self.reason,
            "provides": list(self.provides),
            "load_ms": round(self.load_seconds * 1000, 1),
        }
