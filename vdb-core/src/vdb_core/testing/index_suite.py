"""What every part of the suite for index types knows: the type, what to test it with, and indexes that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from vdb_core.indexes import METRICS
from vdb_core.testing.claims import drop_unclaimed
from vdb_core.testing.workshop import Workshop, first_metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vdb_core.indexes import Metric
    from vdb_core.plugins import IndexType

__all__ = ["IndexSuite"]


class IndexSuite:
    """Settings and fixtures; the tests are in the classes that are made from it."""

    index_type: ClassVar[IndexType]
    """The type that is tested."""

    params: ClassVar[Mapping[str, object]] = {}
    """Build parameters to test with; subclass again to test others."""

    search_params: ClassVar[Sequence[Mapping[str, object]]] = ({},)
    """Search parameters to test with, one search each."""

    recall_floor: ClassVar[float] = 0.0
    """The least recall@10 over the ``normal`` and the ``clusters`` problem, with each of ``search_params``."""

    long_rows: ClassVar[int] = 20_000
    """Rows of the tests of memory, progress and the GIL; fewer for an index that is slow to build."""

    kills: ClassVar[int] = 2
    """How many processes are killed within ``save``, in each of the two tests that do so."""

    def __init_subclass__(cls) -> None:
        """Take the tests of claims away that the type does not make."""
        super().__init_subclass__()
        if not hasattr(cls, "index_type"):
            return
        drop_unclaimed(cls, cls.index_type.capabilities)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that names a metric under every metric of the type."""
        if "metric" in metafunc.fixturenames:
            metafunc.parametrize("metric", [each for each in METRICS if each in self.index_type.metrics])

    @pytest.fixture(scope="class")
    @classmethod
    def workshop(cls) -> Iterator[Workshop]:
        """Indexes that several tests ask, built once."""
        made = Workshop(cls.index_type, cls.params)
        yield made
        made.close()

    @pytest.fixture
    def one_metric(self) -> Metric:
        """A metric, for what does not depend on it."""
        return first_metric(self.index_type)
