"""Every array becomes one that torch takes, and is not copied where it is that already."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from fastface.utils.arrays import in_order

ARRAY = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [
        ARRAY[:1][::-1],
        ARRAY[:, :1][:, ::-1],
        ARRAY[:0][::-1],
        ARRAY[::-1, ::-2],
        ARRAY.T,
        np.broadcast_to(ARRAY, (2, 4, 6)),
        np.float32(3),
    ],
)
def test_torch_takes_it(array: np.ndarray):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (torch.from_numpy(in_order(array)).numpy() == array).all()


def test_what_is_in_order_is_not_copied():
    assert in_order(ARRAY) is ARRAY
    assert in_order(ARRAY, np.float64).dtype == np.float64
