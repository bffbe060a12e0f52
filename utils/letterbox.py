"""Fits images into a network's input: by default top left on black, as InsightFace's SCRFD does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .images import ImageBatch
from .pixels import black_images, resize_8bit

#: SCRFD's coarsest stride among those it is released with; canvases are padded up to it.
_CANVAS_MULTIPLE = 32


@dataclass(frozen=True)
class Canvas:
    """Where an image lies on a network's input: scaled, by default at the upper left on black.

    Attributes:
        source_hw: Height and width of the image in pixels.
        filled_hw: Of what it covers of the canvas.
        size_hw: Of the canvas.
        origin: Its first row and column there.
        fill: Colour of the rest, RGB 0..255.
        scale_xy: What x and y on the canvas are divided by to get source pixels, once the origin
            is taken off; None where that is `scale` for both.
    """

    source_hw: tuple[int, int]
    filled_hw: tuple[int, int]
    size_hw: tuple[int, int]
    origin: tuple[int, int] = (0, 0)
    fill: tuple[int, int, int] = (0, 0, 0)
    scale_xy: tuple[float, float] | None = None

    @classmethod
    def fitting(
        cls,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        canvas_wh: tuple[int, int] | None = None,
    ) -> Canvas:
        """The canvas for an image.

        Args:
            source_hw: Of the image.
            size_wh: Width and height to fit it into, in pixels.
            canvas_wh: Width and height of the canvas, no smaller than `size_wh`; by default that,
                rounded up to a multiple of 32 in each direction.
        """
        width, height = canvas_wh or (
            -(-side // _CANVAS_MULTIPLE) * _CANVAS_MULTIPLE for side in size_wh
        )
        return cls(source_hw, fitted_size(source_hw, size_wh), (height, width))

    @property
    def scale(self) -> float:
        """What InsightFace divides coordinates on the canvas by to get source pixels."""
        return self.filled_hw[0] / self.source_hw[0]


def fitted_size(
    source_hw: tuple[int, int], size_wh: tuple[int, int], least: int = 1
) -> tuple[int, int]:
    """Height and width of an image scaled to fit, truncated exactly as InsightFace truncates.

    Args:
        source_hw: Of the image.
        size_wh: Width and height to fit it into.
        least: Fewest pixels either way; InsightFace itself leaves 0 of a thin picture, and fails.
    """
    height, width = source_hw
    ratio = height / width
    if ratio > size_wh[1] / size_wh[0]:
        new_height, new_width = size_wh[1], int(size_wh[1] / ratio)
    else:
        new_width, new_height = size_wh[0], int(size_wh[0] * ratio)
    return max(least, new_height), max(least, new_width)


def letterbox(
    batch: ImageBatch, canvas: Canvas, part_hw: tuple[int, int] | None = None
) -> ImageBatch:
    """Scales images to fit a canvas and pads them with its colour.

    Args:
        batch: `[B,H,W,3]` on any device, of the canvas's source size.
        canvas: See `Canvas.fitting`.
        part_hw: Height and width of the upper left part of the canvas that is wanted, no smaller
            than what is filled from the first row and column; by default all of it.

    Returns:
        `[B,h,w,3]` uint8 on the images' device.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD._detect_candidates`.
    """
    pixels = batch.to_uint8()
    drawn = black_images((len(pixels), *(part_hw or canvas.size_hw), 3), pixels.device)
    if any(canvas.fill) and canvas.filled_hw != canvas.size_hw:
        _fill(drawn, canvas.fill, batch.bgr)
    top, left = canvas.origin
    resize_8bit(
        pixels, drawn[:, top : top + canvas.filled_hw[0], left : left + canvas.filled_hw[1]]
    )
    return ImageBatch(drawn, batch.positions, batch.bgr)


def _fill(images: Tensor, rgb: tuple[int, int, int], bgr: bool) -> None:
    """Fills images `[B,H,W,3]` uint8, RGB or BGR, with a colour."""
    colour = rgb[::-1] if bgr else rgb
    if images.device.type == "cpu":
        images.numpy()[:] = colour  # in the calling thread; see `pixels.py`
    else:
        for channel, value in enumerate(colour):
            images[..., channel].fill_(value)


def stretch(batch: ImageBatch, size_hw: tuple[int, int]) -> ImageBatch:
    """Scales images to a size, whatever their shape, as `cv2.resize` does.

    Args:
        batch: `[B,H,W,3]` on any device.
        size_hw: Height and width in pixels.

    Returns:
        `[B,h,w,3]` uint8 on the images' device.
    """
    pixels = batch.to_uint8()
    scaled = black_images((len(pixels), *size_hw, 3), pixels.device)
    resize_8bit(pixels, scaled)
    return ImageBatch(scaled, batch.positions, batch.bgr)
