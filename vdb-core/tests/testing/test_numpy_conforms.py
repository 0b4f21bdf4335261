"""The built-in index passes the suite that everybody's must pass."""

from __future__ import annotations

from vdb_core.plugins import PluginManager
from vdb_core.testing import IndexConformance


def numpy_type():
    manager = PluginManager(entry_points=lambda: ())
    manager.load()
    return manager.index_type("numpy")


class TestNumpy(IndexConformance):
    index_type = numpy_type()
    recall_floor = 1.0
