"""Detection input sizes as InsightFace's callers give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...utils.errors import InvalidInput

Sizes = tuple[tuple[int, int], ...]

#: What insightface 1.0 and later use when no size is given: two passes, merged by NMS.
AUTO_SIZES: Sizes = ((128, 128), (640, 640))

#: Longest side, and most pixels of one size: more takes some ten gigabytes in any detector.
_MOST_SIDE_PX, _MOST_PIXELS = 16384, 8192 * 8192
#: A detector's coarsest stride: in an input of less than this no face can be found.
_USELESS_SIDE_PX = 32


def parse_sizes(value: Any, before: Sequence[tuple[int, int]] = ()) -> Sizes:
    """Input sizes, width first, without repeats.

    Args:
        value: A pair `(width, height)` in pixels, a list of pairs, an array of either, or None or
            `(0, 0)` for `AUTO_SIZES`. Fractions are dropped, as upstream drops them.
        before: The sizes that were asked for last. Callers that halve a size until there is a face
            come from (1, 1) to (0, 0); insightface before 1.0 ended there with an error, and
            without one they would go on for good.

    Raises:
        InvalidInput: Anything else; or (0, 0) when sizes had been halved down to that.
    """
    if value is None:
        return AUTO_SIZES
    try:
        pairs = np.atleast_2d(np.asarray(value, dtype=np.float64))
    # RuntimeError: a torch tensor with a gradient. OverflowError: a larger number than any float.
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidInput(_refusal(value)) from error
    if pairs.size == 0 or pairs.shape[1:] != (2,) or not np.isfinite(pairs).all():
        raise InvalidInput(_refusal(value))
    sizes: list[tuple[int, int]] = []
    for sides in pairs.tolist():
        width, height = map(int, sides)
        if (width, height) == (0, 0):
            _refuse_end_of_halving(before)
            sizes.extend(AUTO_SIZES)
        elif (
            0 < width <= _MOST_SIDE_PX
            and 0 < height <= _MOST_SIDE_PX
            and width * height <= _MOST_PIXELS
        ):
            sizes.append((width, height))
        else:
            raise InvalidInput(_refusal(value))
    return tuple(dict.fromkeys(sizes))


def _refuse_end_of_halving(before: Sequence[tuple[int, int]]) -> None:
    if before and max(map(max, before)) < _USELESS_SIDE_PX:
        raise InvalidInput(
            f"got detection size (0, 0) after {before[-1]}, which a caller comes to that makes the "
            "size smaller until a face is found: there is none; stop at 128, or check the image"
        )


def _refusal(value: Any) -> str:
    return (
        f"got detection size {value!r}, expected (width, height) in pixels, both positive, at "
        f"most {_MOST_SIDE_PX} and {_MOST_PIXELS:,} pixels together, or a list of such pairs"
    )
