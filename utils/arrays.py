"""Arrays of numpy as torch takes them."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_order(values: Any, dtype: Any = None) -> np.ndarray:
    """An array in C order that can be written to and has no negative stride; itself if it is that.

    Args:
        values: An array, or what numpy makes one of.
        dtype: Of the result; None keeps the array's.
    """
    # Read-only arrays, as PIL and video readers give, are copied: torch has no such tensors.
    array = np.require(values, dtype, ["C", "W"])
    # To numpy a flipped axis with one place, or none, is in order; torch refuses its stride.
    return array.copy() if min(array.strides, default=0) < 0 else array
