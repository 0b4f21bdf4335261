"""Makes ``src/vdb_embedder_minilm/minilm.onnx``: the computation of all-MiniLM-L6-v2, without its weights.

    python scripts/make_graph.py MODEL_DIRECTORY      # needs the package onnx; nothing else does

The weights stay where they are: each initializer names its bytes within ``model.safetensors``. What comes out depends
on nothing but the header of that file.

::

    ids [n, s] ─▶ word + position + type embedding ─▶ norm ─▶ 6 layers ─▶ mean over the first `lengths` tokens ─▶ unit rows
                                                                │
        layer:  q, k, v ─▶ attention of 12 heads ─▶ dense ─▶ + ─▶ norm ─▶ dense ─▶ gelu ─▶ dense ─▶ + ─▶ norm

Tokens of all texts stand below each other, ``[n * s, 384]``, everywhere but in the attention: a dense layer is one
``Gemm`` that takes its weights as they are stored, ``[out, in]``.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

HIDDEN, HEADS, LAYERS = 384, 12, 6
EPSILON = 1e-12
TARGET = Path(__file__).resolve().parent.parent / "src" / "vdb_embedder_minilm" / "minilm.onnx"


class Graph:
    """Nodes and initializers, in the order in which they are added."""

    def __init__(self, header: dict[str, dict[str, object]], data_at: int) -> None:
        self._header = header
        self._data_at = data_at
        self._counts: dict[str, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def weight(self, name: str) -> str:
        """A tensor that lies in ``model.safetensors``."""
        entry = self._header[name]
        begin, end = entry["data_offsets"]  # type: ignore[misc]
        assert entry["dtype"] == "F32", name
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=entry["shape"])  # type: ignore[arg-type]
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "model.safetensors", "offset": self._data_at + begin, "length": end - begin}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        return name

    def constant(self, name: str, kind: int, dims: list[int], values: list[float]) -> str:
        """A small tensor that lies in the graph itself."""
        self.initializers.append(helper.make_tensor(name, kind, dims, values))
        return name

    def add(
        self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: object
    ) -> str:
        """Add a node with one output; returns the output's name."""
        number = self._counts[operator] = self._counts.get(operator, 0) + 1
        name = output or f"{operator.lower()}_{number}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def dense(self, rows: str, name: str) -> str:
        """``rows @ weight.T + bias``."""
        return self.add("Gemm", rows, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), transB=1)

    def add_and_norm(self, rows: str, residual: str, name: str) -> str:
        """The norm of a sum."""
        gamma, beta = self.weight(f"{name}.LayerNorm.weight"), self.weight(f"{name}.LayerNorm.bias")
        return self.add(
            "SkipLayerNormalization", rows, residual, gamma, beta, domain="com.microsoft", epsilon=EPSILON
        )


def embeddings(graph: Graph) -> str:
    """Rows ``[n * s, 384]`` of the tokens: word, position and type embedding, normed."""
    length = graph.add("Shape", "ids", start=1, end=2)
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    zero = graph.constant("zero", TensorProto.INT64, [1], [0])
    positions = graph.add("Slice", graph.weight("embeddings.position_embeddings.weight"), zero, length, zero)
    kind = graph.add("Gather", graph.weight("embeddings.token_type_embeddings.weight"), "zero")
    total = graph.add("Add", graph.add("Add", words, kind), positions)
    norm = [graph.weight(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
    normed = graph.add("LayerNormalization", total, *norm, axis=-1, epsilon=EPSILON)
    return graph.add("Reshape", normed, graph.constant("rows", TensorProto.INT64, [2], [-1, HIDDEN]))


def layer(graph: Graph, rows: str, number: int, shape: str) -> str:
    """One encoder layer, rows to rows."""
    name = f"encoder.layer.{number}"
    heads = [
        graph.add("Reshape", graph.dense(rows, f"{name}.attention.self.{part}"), shape)
        for part in ("query", "key", "value")
    ]
    mixed = graph.add("MultiHeadAttention", *heads, "", "lengths", domain="com.microsoft", num_heads=HEADS)
    attended = graph.dense(graph.add("Reshape", mixed, "rows"), f"{name}.attention.output.dense")
    middle = graph.add_and_norm(attended, rows, f"{name}.attention.output")
    wide = graph.add("Gelu", graph.dense(middle, f"{name}.intermediate.dense"), domain="com.microsoft")
    return graph.add_and_norm(graph.dense(wide, f"{name}.output.dense"), middle, f"{name}.output")


def pooled(graph: Graph, rows: str, shape: str) -> None:
    """Unit rows ``[n, 384]``: the mean over the tokens of each text, none of the padding."""
    length = graph.add("Squeeze", graph.add("Shape", "ids", start=1, end=2))
    start = graph.constant("start", TensorProto.INT32, [], [0])
    step = graph.constant("step", TensorProto.INT32, [], [1])
    places = graph.add("Range", start, graph.add("Cast", length, to=TensorProto.INT32), step)
    one = graph.constant("one", TensorProto.INT64, [1], [1])
    counts = graph.add("Unsqueeze", "lengths", one)
    inside = graph.add("Cast", graph.add("Less", places, counts), to=TensorProto.FLOAT)
    weights = graph.add("Div", inside, graph.add("Cast", counts, to=TensorProto.FLOAT))
    tokens = graph.add("Reshape", rows, shape)
    mean = graph.add("Squeeze", graph.add("MatMul", graph.add("Unsqueeze", weights, one), tokens), one)
    graph.add("LpNormalization", mean, axis=-1, p=2, output="embeddings")


def make(model: Path) -> bytes:
    """The graph for weights that lie as they do in this file."""
    with (model / "model.safetensors").open("rb") as stream:
        size = struct.unpack("<Q", stream.read(8))[0]
        header = json.loads(stream.read(size))
    graph = Graph(header, 8 + size)
    rows = embeddings(graph)
    lead = graph.add("Shape", "ids")
    width = graph.constant("width", TensorProto.INT64, [1], [HIDDEN])
    shape = graph.add("Concat", lead, width, axis=0)
    for number in range(LAYERS):
        rows = layer(graph, rows, number, shape)
    pooled(graph, rows, shape)
    made = helper.make_graph(
        graph.nodes,
        "all-MiniLM-L6-v2",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["n"]),
        ],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", HIDDEN])],
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(made, producer_name="vdb-embedder-minilm", opset_imports=opsets, ir_version=8)
    return proto.SerializeToString(deterministic=True)


if __name__ == "__main__":
    TARGET.write_bytes(make(Path(sys.argv[1])))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
