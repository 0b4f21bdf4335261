"""The plugin system: hook names, the records that hooks return, and the manager that finds and checks plugins.

A plugin is a module, or an object, with functions marked by :data:`hookimpl`; an entry point in the group
``vdb.plugins`` names it. The docstring of each hook in :mod:`vdb_core.plugins.hookspec` is a complete plugin.
"""

from __future__ import annotations

from vdb_core.plugins.describe import describe_index_type
from vdb_core.plugins.discovery import GROUP
from vdb_core.plugins.hookspec import (
    PROJECT,
    hookimpl,
    vdb_register_embedders,
    vdb_register_index_types,
    vdb_register_journals,
    vdb_register_snapshot_stores,
)
from vdb_core.plugins.manager import DISABLED_VARIABLE, PluginManager
from vdb_core.plugins.params import params_schema, validate_params
from vdb_core.plugins.records import (
    API_VERSION,
    SUPPORTED_API_VERSIONS,
    Capabilities,
    Complexity,
    EmbedderType,
    EstimateMemory,
    IndexType,
    JournalType,
    NoParams,
    SnapshotStoreType,
)
from vdb_core.plugins.report import PluginReport, PluginState

__all__ = [
    "API_VERSION",
    "DISABLED_VARIABLE",
    "GROUP",
    "PROJECT",
    "SUPPORTED_API_VERSIONS",
    "Capabilities",
    "Complexity",
    "EmbedderType",
    "EstimateMemory",
    "IndexType",
    "JournalType",
    "NoParams",
    "PluginManager",
    "PluginReport",
    "PluginState",
    "SnapshotStoreType",
    "describe_index_type",
    "hookimpl",
    "params_schema",
    "validate_params",
    "vdb_register_embedders",
    "vdb_register_index_types",
    "vdb_register_journals",
    "vdb_register_snapshot_stores",
]
