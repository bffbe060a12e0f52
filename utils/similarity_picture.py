"""A picture of how alike the faces of two groups are: all pairs, with the faces at its edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .progress import advance, may_stop

if TYPE_CHECKING:
    from PIL import ImageFont

#: Side in pixels of the square of one pair, and of the face before it.
PAIR_PX = 64
#: Room for the label of a face, across and down.
_LABEL_WIDTH_PX, _LABEL_HEIGHT_PX = 56, 24
#: Longest side of all squares together: of more faces each gets less, and below the second neither
#: number nor face, which nobody could tell.
_MATRIX_PX, _SMALLEST_NUMBERED_PX = 4096, 48
_GAP_PX = 2


@dataclass(frozen=True)
class Group:
    """The faces of one side of the comparison.

    Attributes:
        labels: One a face.
        crops: `[N,64,64,3]` uint8 RGB, a picture of each face; None where there is none.
    """

    labels: Sequence[str]
    crops: np.ndarray | None = None

    @property
    def picture_px(self) -> int:
        """Room for the pictures."""
        return 0 if self.crops is None else PAIR_PX


def shows_faces(rows: int, columns: int) -> bool:
    """Whether so many faces are drawn with their labels and pictures."""
    return _pair_px(rows, columns) >= _SMALLEST_NUMBERED_PX


def draw_matrix(values: np.ndarray, rows: Group, columns: Group) -> np.ndarray:
    """A picture of similarities, lighter the higher, each with its number.

    Args:
        values: `[N,M]`, -1..1; either may be 0. Where `shows_faces` says no, the squares are
            smaller and stand alone; of some 4,000 faces on, a square is a pixel.
        rows: The N faces.
        columns: The M faces.

    Returns:
        `[H,W,3]` uint8 RGB.
    """
    from PIL import Image, ImageDraw

    pair_px = _pair_px(*values.shape)
    if not shows_faces(*values.shape):
        lights = _lights(values).repeat(pair_px, 0).repeat(pair_px, 1)
        return np.stack((lights // 2, lights, lights), axis=2)
    left = _LABEL_WIDTH_PX + rows.picture_px
    top = _LABEL_HEIGHT_PX + columns.picture_px
    across, down = max(1, values.shape[1]), max(1, values.shape[0])
    picture = Image.new("RGB", (left + pair_px * across, top + pair_px * down))
    pen = ImageDraw.Draw(picture)
    label, number = _font(14), _font(18)
    for row, text in enumerate(rows.labels):
        middle = top + pair_px * (row + 0.5)
        pen.text((_LABEL_WIDTH_PX / 2, middle), text, anchor="mm", font=label)
    for column, text in enumerate(columns.labels):
        middle = left + pair_px * (column + 0.5)
        pen.text((middle, _LABEL_HEIGHT_PX / 2), text, anchor="mm", font=label)
    side = pair_px - _GAP_PX
    for row, crop in enumerate([] if rows.crops is None else rows.crops):
        may_stop()
        face = Image.fromarray(crop).resize((side, side))
        picture.paste(face, (_LABEL_WIDTH_PX, top + pair_px * row))
    for column, crop in enumerate([] if columns.crops is None else columns.crops):
        may_stop()
        face = Image.fromarray(crop).resize((side, side))
        picture.paste(face, (left + pair_px * column, _LABEL_HEIGHT_PX))
    lights = _lights(values)
    for (row, column), value in np.ndenumerate(values):
        advance(row / values.shape[0])
        corner = left + pair_px * column, top + pair_px * row
        light = int(lights[row, column])
        box = (*corner, corner[0] + side, corner[1] + side)
        pen.rectangle(box, fill=(light // 2, light, light))
        ink = "black" if light > 128 else "white"
        middle = corner[0] + pair_px / 2, corner[1] + pair_px / 2
        pen.text(middle, f"{value:.2f}", fill=ink, anchor="mm", font=number)
    return np.array(picture)


def _pair_px(rows: int, columns: int) -> int:
    return max(1, min(PAIR_PX, _MATRIX_PX // max(1, rows, columns)))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _lights(values: np.ndarray) -> np.ndarray:
    """How light each pair is, uint8 of the same shape."""
    return (np.rint(235 * values.astype(np.float64).clip(0.0, 1.0)) + 20).astype(np.uint8)
