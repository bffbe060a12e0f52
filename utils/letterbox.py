"""Fits images into a network's input, top left, as InsightFace's SCRFD does."""

from __future__ import annotations

from .images import ImageBatch
from .planes import black_images
from .resize import resize_8bit

#: SCRFD's coarsest stride among those it is released with; canvases are padded up to it.
_CANVAS_MULTIPLE = 32


def fitted_size(source_hw: tuple[int, int], size_wh: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image scaled to fit, truncated exactly as InsightFace truncates."""
    height, width = source_hw
    ratio = height / width
    if ratio > size_wh[1] / size_wh[0]:
        new_height, new_width = size_wh[1], int(size_wh[1] / ratio)
    else:
        new_width, new_height = size_wh[0], int(size_wh[0] * ratio)
    return max(1, new_height), max(1, new_width)


def letterbox(batch: ImageBatch, size_wh: tuple[int, int]) -> tuple[ImageBatch, float]:
    """Scales images to fit a canvas and pads them with black at the right and bottom.

    Args:
        batch: `[B,H,W,3]` on any device.
        size_wh: Width and height to fit into, in pixels; the canvas is this, rounded up to a
            multiple of 32 in each direction.

    Returns:
        The canvases, `[B,h,w,3]` uint8 on the images' device, and the scale by which coordinates on
        the canvas are divided to get source pixels.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD._detect_candidates`.
    """
    source_hw = batch.size_hw
    fitted_hw = fitted_size(source_hw, size_wh)
    pixels = batch.to_uint8()
    width, height = (-(-side // _CANVAS_MULTIPLE) * _CANVAS_MULTIPLE for side in size_wh)
    canvas = black_images((len(pixels), height, width, 3), pixels.device)
    resize_8bit(pixels, canvas[:, : fitted_hw[0], : fitted_hw[1]])
    return ImageBatch(canvas, batch.positions, batch.bgr), fitted_hw[0] / source_hw[0]


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
