"""Detection input sizes as InsightFace's callers give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...utils.errors import InvalidInput

#: What insightface 1.0 and later use when no size is given: two passes, merged by NMS.
AUTO_SIZES = ((128, 128), (640, 640))


def parse_sizes(value: Any) -> tuple[tuple[int, int], ...]:
    """Input sizes, width first, without repeats.

    Args:
        value: A pair `(width, height)` in pixels, a list of pairs, an array of either, or None or
            `(0, 0)` for `AUTO_SIZES`.

    Raises:
        InvalidInput: Anything else.
    """
    if value is None:
        return AUTO_SIZES
    try:
        pairs = np.atleast_2d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InvalidInput(_refusal(value)) from error
    if pairs.size == 0 or pairs.shape[1:] != (2,) or not np.isfinite(pairs).all():
        raise InvalidInput(_refusal(value))
    sizes: list[tuple[int, int]] = []
    for width, height in pairs.astype(np.int64).tolist():
        if (width, height) == (0, 0):
            sizes.extend(AUTO_SIZES)
        elif width > 0 and height > 0:
            sizes.append((width, height))
        else:
            raise InvalidInput(_refusal(value))
    return tuple(dict.fromkeys(sizes))


def _refusal(value: Any) -> str:
    return (
        f"got detection size {value!r}, expected (width, height) in pixels, both positive, "
        "or a list of such pairs"
    )
