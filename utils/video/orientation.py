"""How a film wants its frames to be shown: turned by quarter turns, mirrored, or as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_MATRIX_BYTES = 9 * 4


@dataclass(frozen=True)
class Orientation:
    """What is done to a stored frame before it is shown, in this order.

    Attributes:
        transposed: Rows and columns change places.
        mirrored: Left and right change places.
        upside_down: Top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise, 0, 90, 180 or 270; a mirror image counts as the nearest one."""
        if self.transposed:
            return 90 if self.upside_down else 270
        return 180 if self.upside_down else 0

    def applied(self, pixels: np.ndarray) -> np.ndarray:
        """The frame as it is shown: a view of `pixels [H,W,3]`."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]

    def size_shown(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a frame as it is shown."""
        return (size_hw[1], size_hw[0]) if self.transposed else size_hw


def orientation_of(frame: Any) -> Orientation:
    """What the display matrix of a decoded frame says; turns between quarters are left as stored.

    Args:
        frame: A PyAV `VideoFrame`.

    Source:
        FFmpeg, libavutil/display.h: the matrix `(a b u; c d v; x y w)` shows the stored place
        `(p, q)` at `(a p + c q + x, b p + d q + y)`.
    """
    from av.sidedata.sidedata import SideDataContainer

    # `frame.side_data` keeps what it made in the frame, which that holds in turn: such frames, with
    # all their pixels, stay in memory until Python's garbage collector comes by.
    container: Any = SideDataContainer  # its stub shows no constructor
    data = container(frame).get("DISPLAYMATRIX")
    if data is None or len(matrix := bytes(data)) != _MATRIX_BYTES:
        return Orientation()
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(matrix, np.int32))
    if a and d and not b and not c:
        return Orientation(mirrored=a < 0, upside_down=d < 0)
    if b and c and not a and not d:
        return Orientation(transposed=True, mirrored=c < 0, upside_down=b < 0)
    return Orientation()
