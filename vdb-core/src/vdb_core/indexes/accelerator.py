"""What the engine does for one query beside the search, for plugins that have it compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdb_core.indexes.contract import Metric

__all__ = ["Accelerator"]


class Accelerator(Protocol):
    """Makes queries quicker, and nothing else of them: the engine tries it, and uses it where no bit of an answer differs.

    Distances are float64 throughout. Sums are pairwise (Higham 1993), in the order in which NumPy's ``add.reduce`` sums one row.
    """

    def query_row(self, row: object, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make a row of an embedding, in the form in which rows are stored.

        Args:
            row: any value.
            dimension: the length that it must have.
            metric: of the library.

        Returns:
            float32 ``[1, dim]``, under cosine divided by its length. ``None`` where the value deserves a closer look: it is
            neither a list of floats and integers nor a float32 array ``[dim]``, or its sum of squares is not between 1e-30
            and 1e30.
        """
        ...

    def read_row(self, text: bytes, dimension: int, metric: Metric) -> NDArray[np.float32] | None:
        """Make the same of a JSON array of numbers (RFC 8259); ``None`` where the text is anything else."""
        ...

    def nearest(
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        slots: NDArray[np.uint32],
        allowed: NDArray[np.uint64] | None,
        metric: Metric,
        want: int,
    ) -> tuple[list[int], list[float]]:
        """Order rows by their distance from a query; of equally distant ones the lower slot comes first.

        Args:
            query: float32 ``[1, dim]``, in the form in which rows are stored.
            vectors: float32 ``[n, dim]``, C-contiguous, maybe mapped from a file.
            slots: uint32 ``[1, m]``, in any order; what no row has is left out, and what is named twice counts once.
            allowed: bitmap of ``n`` slots; what it lacks is left out. ``None`` allows all.
            metric: which distance.
            want: how many to keep.

        Returns:
            Slots and distances, the nearest first.
        """
        ...

    def hits(
        self, records: list[bytes], scores: bytes, distances: bytes, text: bool, metadata: bool
    ) -> bytes | None:
        """Write the hits of an answer: a JSON array of objects with ``id``, ``document_id``, what is shown, ``score``, ``distance``.

        Args:
            records: of each hit, as they lie on disk.
            scores: a JSON array of as many numbers, each of which stays as it is written.
            distances: likewise.
            text: show it.
            metadata: show it.

        Returns:
            The JSON, or ``None`` where a record is not written as vdb writes it, or where there is no quicker way.
        """
        ...
