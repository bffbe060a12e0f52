"""Embeddings of a film by rows: they are gathered when they are asked for, never copied as a whole.

Those of ten thousand frames take a hundred megabytes, and are in the faces already.
"""

from __future__ import annotations

import numpy as np


class OrderedRows:
    """Rows of a matrix in an order of its own."""

    def __init__(self, values: np.ndarray, order: np.ndarray) -> None:
        """
        Args:
            values: `[N,D]`.
            order: `[N]`, the row of `values` that stands at each place.
        """
        self._values = values
        self._order = order
        self.width = values.shape[1]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """`[n,D]`, the rows at some places."""
        return self._values[self._order[rows]]


class Directions(OrderedRows):
    """Rows at length 1."""

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        values = super().__getitem__(rows)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        return values / np.maximum(lengths, 1e-12)
