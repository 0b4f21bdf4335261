"""The conformance kit: tests that authors of plugins run against what they register.

An index type is tested by a class of one line, in a file that pytest collects::

    from vdb_core.testing import IndexConformance


    class TestMyIndex(IndexConformance):
        index_type = MY_INDEX_TYPE

Needs pytest, which ``pip install vdb-core[testing]`` brings.
"""

from __future__ import annotations

import pytest

# Before the import below: pytest then shows the values within a failing assertion.
pytest.register_assert_rewrite("vdb_core.testing.answers", "vdb_core.testing.index_conformance")

from vdb_core.testing.index_conformance import IndexConformance  # noqa: E402 - see above
from vdb_core.testing.problems import PROBLEMS, Problem, make_problem  # noqa: E402 - see above

__all__ = ["PROBLEMS", "IndexConformance", "Problem", "make_problem"]
