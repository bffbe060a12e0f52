"""Embeddings of a film by rows, in an order of their own."""

from __future__ import annotations

import numpy as np

from fastface.utils.tracks.rows import Directions, OrderedRows

VALUES = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]], np.float32)
ORDER = np.array([2, 0, 1])


def test_rows_are_those_of_the_order():
    rows = OrderedRows(VALUES, ORDER)
    assert rows.width == 2
    assert rows[np.array([0, 1])].tolist() == [[0.0, 2.0], [3.0, 4.0]]
    assert rows[1:].tolist() == [[3.0, 4.0], [0.0, 0.0]]


def test_directions_have_length_one_where_there_is_any():
    directions = Directions(VALUES, ORDER)
    np.testing.assert_allclose(directions[:], [[0.0, 1.0], [0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
