"""The conformance kit: tests that authors of plugins run against what they register.

A plugin is tested by a class of one line, in a file that pytest collects::

    from vdb_core.testing import IndexConformance


    class TestMyIndex(IndexConformance):
        index_type = MY_INDEX_TYPE

``SnapshotStoreConformance`` (``store_type``), ``JournalConformance`` (``journal_type``) and ``EmbedderConformance``
(``embedder_type``) work alike. docs/how-to/test-a-plugin.md lists every test with its promise. Needs pytest, which
``pip install vdb-core[testing]`` brings.
"""

from __future__ import annotations

import pytest

# Before the imports below: pytest then shows the values within a failing assertion.
pytest.register_assert_rewrite(
    "vdb_core.testing.answers",
    "vdb_core.testing.embedder_conformance",
    "vdb_core.testing.engine",
    "vdb_core.testing.index_answers",
    "vdb_core.testing.index_arguments",
    "vdb_core.testing.index_engine",
    "vdb_core.testing.index_life",
    "vdb_core.testing.journal_conformance",
    "vdb_core.testing.snapshot_conformance",
)

from vdb_core.testing.embedder_conformance import EmbedderConformance  # noqa: E402 - see above
from vdb_core.testing.index_conformance import IndexConformance  # noqa: E402 - see above
from vdb_core.testing.journal_conformance import JournalConformance  # noqa: E402 - see above
from vdb_core.testing.problems import PROBLEMS, Problem, make_problem  # noqa: E402 - see above
from vdb_core.testing.snapshot_conformance import SnapshotStoreConformance  # noqa: E402 - see above

__all__ = [
    "PROBLEMS",
    "EmbedderConformance",
    "IndexConformance",
    "JournalConformance",
    "Problem",
    "SnapshotStoreConformance",
    "make_problem",
]
