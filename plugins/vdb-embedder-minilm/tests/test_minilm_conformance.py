"""The conformance kit of vdb-core over the embedder."""

from __future__ import annotations

from vdb_core.testing import EmbedderConformance
from vdb_embedder_minilm.plugin import vdb_register_embedders

(MINILM,) = vdb_register_embedders()


class TestMiniLM(EmbedderConformance):
    embedder_type = MINILM
    params = {"download": False}  # noqa: RUF012 - as short as in the docs
