"""The suite for index types: each test is one sentence of the contract, or one claim that a type makes.

A claim that is not made is not tested: its tests are not collected, rather than skipped. The first sentence of a test's
docstring is its promise; docs/how-to/test-a-plugin.md lists them, and a test keeps the two alike.
"""

from __future__ import annotations

from vdb_core.plugins.validation import check_records
from vdb_core.testing.index_answers import IndexAnswers
from vdb_core.testing.index_arguments import IndexArguments
from vdb_core.testing.index_engine import IndexInEngine
from vdb_core.testing.index_life import IndexLife

__all__ = ["IndexConformance"]


class IndexConformance(IndexAnswers, IndexLife, IndexArguments, IndexInEngine):
    """Subclass it, name it ``Test...``, and set ``index_type``."""

    def test_the_record_is_well_formed(self) -> None:
        """The record has a usable name, summary, metrics, capabilities and parameter models with defaults."""
        _ = check_records("vdb_register_index_types", [self.index_type])
