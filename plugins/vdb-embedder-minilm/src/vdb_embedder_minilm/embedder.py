"""Word pieces to embeddings: batches of texts of about one length, by onnxruntime."""

from __future__ import annotations

import mmap
import os
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import onnxruntime

from vdb_embedder_minilm.pieces import Pieces
from vdb_embedder_minilm.plugin import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from vdb_embedder_minilm.weights import Model

__all__ = ["MiniLM"]

_BATCH_PIECES: Final = 512
"""Word pieces of a batch, padding included. Of what one core embeds in a second, in texts of 24 pieces: 172 with 256 of
them, 163 with 512, 152 with 1,024, 124 with 4,096, where the activations leave the cache; several cores want more than
256 to share."""

_QUIET: Final = 3
"""Errors only: onnxruntime would warn of processors and folders that are none of its user's business."""


@final
class MiniLM:
    """all-MiniLM-L6-v2: unit rows of 384 numbers. Safe to call from any thread; the GIL is released."""

    name = NAME
    dimension = 384

    def __init__(self, model: Model, *, threads: int | None = None) -> None:
        """Open the model.

        Args:
            model: its files.
            threads: how many; none means all cores.
        """
        self._pieces = Pieces(model.tokenizer)
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = _QUIET
        # A server has other things to do than to wait for the next batch with all cores busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = files("vdb_embedder_minilm").joinpath("minilm.onnx").read_bytes()
        if not model.weights.is_symlink():
            # Mapped, not read: what is not used, such as the words that no text has, takes no memory.
            folder = str(model.weights.parent.resolve())
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            self._session: Any = _session(graph, options)
            return
        # The Hugging Face cache holds links, and onnxruntime follows none that leads out of the folder.
        with model.weights.open("rb") as stream:
            mapped = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        names, sizes = [model.weights.name], [len(mapped)]
        options.add_external_initializers_from_files_in_memory(names, [mapped], sizes)
        self._session = _session(graph, options)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, each as far as the model reads: float32 ``[len(texts), 384]``.

        Raises:
            ValidationFailed: a text is no Unicode.
        """
        pieces = [ids for ids, _ in self._pieces.of(texts)]
        matrix = np.empty((len(texts), self.dimension), dtype=np.float32)
        for members in _batches([len(ids) for ids in pieces]):
            lengths = np.array([len(pieces[at]) for at in members], dtype=np.int32)
            # Zero is the piece [PAD], which no text has and nothing looks at.
            ids = np.zeros((len(members), int(lengths[-1])), dtype=np.int64)
            for row, at in zip(ids, members, strict=True):
                row[: len(pieces[at])] = pieces[at]
            matrix[members] = self._session.run(None, {"ids": ids, "lengths": lengths})[0]
        return matrix

    def unread(self, texts: Sequence[str]) -> list[int]:
        """How many characters at the end of each text the model does not read."""
        return [len(text) - read for text, (_, read) in zip(texts, self._pieces.of(texts), strict=True)]


def _session(graph: bytes, options: Any) -> Any:
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts by length, shortest first, cut so that few places of a batch are padding."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[at] > _BATCH_PIECES:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
