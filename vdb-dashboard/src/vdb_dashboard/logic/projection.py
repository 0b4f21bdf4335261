"""A flat map of embeddings: principal components, by NumPy alone.

The first two directions of greatest variance are the plane that loses least (Pearson 1901). The map is a shadow:
two points that lie apart in it are apart, two that lie together may not be. How much of the variance it shows is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Projection", "fit", "unit_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A plane through the middle of some rows."""

    middle: NDArray[np.float64]
    """``[dimension]``: mean of the rows it was made of."""

    axes: NDArray[np.float64]
    """``[2, dimension]``: orthonormal, the direction of greatest variance first; zero where there is none."""

    shown: float
    """Share of the variance that the two axes hold, 0 to 1."""

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Where rows ``[n, dimension]`` lie on the map, ``[n, 2]``; also rows it was not made of."""
        return (rows.astype(np.float64) - self.middle) @ self.axes.T


def fit(rows: NDArray[np.float32]) -> Projection:
    """Make the map of rows ``[n, dimension]``, n >= 1. The same rows give the same map, signs included."""
    wide = rows.astype(np.float64)
    middle = wide.mean(axis=0)
    wide -= middle
    count, dimension = wide.shape
    axes = np.zeros((2, dimension))
    # The smaller of the two products has the same eigenvalues, and is what makes 10,000 rows a matter of a second.
    if dimension <= count:
        values, vectors = np.linalg.eigh(wide.T @ wide)
        found = vectors[:, ::-1][:, :2].T
    else:
        values, vectors = np.linalg.eigh(wide @ wide.T)
        found = (wide.T @ vectors[:, ::-1][:, :2]).T
    total = float(np.clip(values, 0, None).sum())
    for place, axis in enumerate(found):
        length = float(np.linalg.norm(axis))
        if values[::-1][place] > total * 1e-12 and length > 0:
            unit = axis / length
            # An axis has two directions: the one whose largest part is positive is taken.
            axes[place] = unit * np.sign(unit[np.argmax(np.abs(unit))])
    held = float(np.clip(values[::-1][:2], 0, None).sum())
    return Projection(middle=middle, axes=axes, shown=held / total if total > 0 else 1.0)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one, as cosine compares them; a zero row stays what it is."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
