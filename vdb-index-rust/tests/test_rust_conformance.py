"""The conformance kit of vdb-core over the three algorithms, with default and with other parameters."""

from __future__ import annotations

from typing import ClassVar

from vdb_core.testing import IndexConformance
from vdb_index_rust import plugin

_TYPES = {each.name: each for each in plugin.vdb_register_index_types()}


class TestBrute(IndexConformance):
    index_type = _TYPES["brute"]
    recall_floor = 1.0


class TestIvfFlat(IndexConformance):
    index_type = _TYPES["ivf_flat"]
    search_params = ({}, {"n_probes": 1_000_000})
    recall_floor = 0.95


class TestIvfFlatOfManyLists(IndexConformance):
    index_type = _TYPES["ivf_flat"]
    params: ClassVar[dict[str, object]] = {"n_lists": 1500}
    search_params = ({"n_probes": 3},)
    long_rows = 6000


class TestIvfPq(IndexConformance):
    index_type = _TYPES["ivf_pq"]
    search_params = ({}, {"n_probes": 64, "rerank": 500})
    recall_floor = 0.95


class TestIvfPqOfBytes(IndexConformance):
    index_type = _TYPES["ivf_pq"]
    params: ClassVar[dict[str, object]] = {"n_lists": 7, "n_bits": 8}
    search_params = ({}, {"n_probes": 1, "rerank": 0})
    long_rows = 6000


class TestIvfPqOfOnePiece(IndexConformance):
    index_type = _TYPES["ivf_pq"]
    params: ClassVar[dict[str, object]] = {"n_subvectors": 1}
    search_params = ({}, {"rerank": 1})
    long_rows = 6000
