"""all-MiniLM-L6-v2 as an embedder of vdb, by onnxruntime and tokenizers.

::

    plugin      what vdb finds: a record, and nothing that takes time to import
    weights     finds the model's files, or downloads them, and checks that they are the published ones
    pieces      texts to word pieces, as many as the model reads
    embedder    word pieces to embeddings
    minilm.onnx the computation without its weights; scripts/make_graph.py makes it
"""

from __future__ import annotations

__all__: list[str] = []
