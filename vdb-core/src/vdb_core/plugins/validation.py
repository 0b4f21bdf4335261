"""Checks what hooks return: a record that passes here can be used without a second look."""

from __future__ import annotations

import re
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from vdb_core.errors import PluginError, PluginIncompatible
from vdb_core.indexes.contract import METRICS
from vdb_core.plugins.params import problem_with_model
from vdb_core.plugins.records import (
    SUPPORTED_API_VERSIONS,
    Capabilities,
    Complexity,
    EmbedderType,
    IndexType,
    JournalType,
    SnapshotStoreType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "AnyType", "check_records"]

AnyType = IndexType | SnapshotStoreType | JournalType | EmbedderType
"""Any record that a hook may return."""

KINDS: Final[dict[str, tuple[str, type[AnyType]]]] = {
    "vdb_register_index_types": ("index_type", IndexType),
    "vdb_register_snapshot_stores": ("snapshot_store", SnapshotStoreType),
    "vdb_register_journals": ("journal", JournalType),
    "vdb_register_embedders": ("embedder", EmbedderType),
}
"""Each hook, what it registers, and the record it returns."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
# A hook that returns an endless generator must not hang the start.
_MOST_RECORDS: Final = 1000


def check_records(hook: str, returned: object) -> list[AnyType]:
    """Check what an implementation of a hook returned.

    Raises:
        PluginIncompatible: a record is of a version of the plugin interface that is not supported.
        PluginError: it is no iterable of usable records; the message says what to change.
    """
    _, record_type = KINDS[hook]
    expected = f"{hook}() returns an iterable of {record_type.__name__}"
    if isinstance(returned, (str, bytes)) or not hasattr(returned, "__iter__"):
        raise PluginError(f"{expected}; received {_shown(returned)}")
    # Whatever iterating raises is told by the manager, as for any other line of the plugin.
    records = list(islice(cast("Iterable[object]", returned), _MOST_RECORDS + 1))
    if len(records) > _MOST_RECORDS:
        raise PluginError(f"{expected}; received more than {_MOST_RECORDS} of them")
    checked: list[AnyType] = []
    for record in records:
        if not isinstance(record, record_type):
            raise PluginError(f"{expected}; received {_shown(record)} among them")
        _check(record)
        checked.append(record)
    return checked


def _check(record: AnyType) -> None:
    kind = type(record).__name__
    # First, because the other fields of another version may mean something else.
    version = cast("object", record.api_version)
    if not isinstance(version, int) or isinstance(version, bool) or version not in SUPPORTED_API_VERSIONS:
        first, last = SUPPORTED_API_VERSIONS[0], SUPPORTED_API_VERSIONS[-1]
        supported = str(first) if first == last else f"{first} to {last}"
        made_for = f"{kind} {record.name!r} is made for version {version!r} of the plugin interface"
        advice = "Install a version of the plugin, or of vdb-core, that fits the other"
        raise PluginIncompatible(f"{made_for}; this vdb-core supports {supported}. {advice}")
    name = cast("object", record.name)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(f"the name of an {kind} matches [a-z][a-z0-9_]{{0,63}}; received {_shown(name)}")
    problems = _index_problems(record) if isinstance(record, IndexType) else _opener_problems(record)
    summary = cast("object", record.summary)
    if not isinstance(summary, str) or not summary.strip():
        problems.append(f"summary: expected a sentence; received {_shown(summary)}")
    if problem := problem_with_model(record.params):
        problems.append(f"params: {problem}")
    if problems:
        raise PluginError(f"{kind} {name!r}: " + "; ".join(problems))


def _opener_problems(record: SnapshotStoreType | JournalType | EmbedderType) -> list[str]:
    return _callable_problem("open", record.open)


def _index_problems(record: IndexType) -> list[str]:
    problems = _callable_problem("build", record.build) + _callable_problem("load", record.load)
    if record.estimate_memory is not None:
        problems += _callable_problem("estimate_memory", record.estimate_memory)
    if record.accelerator is not None:
        problems += _callable_problem("accelerator", record.accelerator)
    # The fields are declared, but nothing enforces a declaration on a stranger's record.
    metrics = cast("object", record.metrics)
    if not isinstance(metrics, (frozenset, set)) or not metrics:
        problems.append(f"metrics: expected a frozenset of at least one metric; received {_shown(metrics)}")
    elif unknown := sorted(map(repr, cast("frozenset[object]", metrics) - set(METRICS))):
        problems.append(f"metrics: unknown {', '.join(unknown)}. Available: {', '.join(METRICS)}")
    capabilities = cast("object", record.capabilities)
    if not isinstance(capabilities, Capabilities):
        problems.append(f"capabilities: expected Capabilities; received {_shown(capabilities)}")
    else:
        problems += [
            f"capabilities: {field}: expected True or False; received {_shown(claim)}"
            for field, claim in cast("dict[str, object]", asdict(capabilities)).items()
            if not isinstance(claim, bool)
        ]
    complexity = cast("object", record.complexity)
    if complexity is not None and not isinstance(complexity, Complexity):
        problems.append(f"complexity: expected Complexity or None; received {_shown(complexity)}")
    if problem := problem_with_model(record.search_params):
        problems.append(f"search_params: {problem}")
    return problems


def _callable_problem(field: str, value: object) -> list[str]:
    return [] if callable(value) else [f"{field}: expected a callable; received {_shown(value)}"]


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:80] + '...'} ({type(value).__name__})"
