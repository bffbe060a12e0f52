"""Small work on pixels: in the calling thread where they lie on the CPU, in torch elsewhere.

On the CPU it is too small to share: torch's threads, once woken, compete with those of the network
that runs next. OpenCV and numpy do it there, with the same results.

Resizing is `cv2.resize` to the very bit, on any device. Detectors sit on thresholds: one grey level
of difference in their input swaps the order of two faces of equal score, or loses the faintest one.
So the arithmetic of OpenCV is kept, not only its formula.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .devices import uploaded
from .modules import has_module

#: OpenCV weighs pixels in steps of 1/2048.
_STEPS = 2048


@lru_cache(maxsize=1)
def opencv_is_there() -> bool:
    """Whether OpenCV is installed; what it does is done in torch where it is not."""
    return has_module("cv2")


def quantised(pixels: Tensor) -> Tensor:
    """8-bit values of pixels of any shape and dtype; floating 0..1 is clamped and rounded."""
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.device.type == "cpu" and pixels.numel() and opencv_is_there():
        return _quantised_by_opencv(pixels)
    return (pixels.float() * 255).round_().clamp_(0, 255).to(torch.uint8)


def _quantised_by_opencv(pixels: Tensor) -> Tensor:
    """In one pass."""
    import cv2

    values = np.ascontiguousarray(pixels.float().numpy())
    flat = values.reshape(1, -1)
    # The only scaling of OpenCV's that saturates below 0 too; the second term is nothing.
    levels = cv2.addWeighted(flat, 255.0, flat, 0.0, 0.0, dtype=cv2.CV_8U)
    return torch.from_numpy(levels.reshape(values.shape))


def extremes(pixels: Tensor) -> Tensor:
    """Smallest and largest of floating pixels, `[2]` float32 on their device, NaN if any is."""
    if pixels.device.type == "cpu":
        values = pixels.float().numpy()
        return torch.tensor([float(values.min()), float(values.max())], dtype=torch.float32)
    return torch.stack(torch.aminmax(pixels)).float()


def black_images(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Black images `[B,H,W,3]` uint8."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=np.uint8))
    return torch.zeros(shape, dtype=torch.uint8, device=device)


def copy_within(target: Tensor, source: Tensor) -> None:
    """Copies numbers into a tensor of the same type on the same device; sizes of 1 are repeated."""
    if target.device.type == "cpu" and target.dtype != torch.bfloat16:  # which numpy hasn't got
        np.copyto(target.numpy(), source.numpy())
    else:
        target.copy_(source)


def resize_8bit(pixels: Tensor, target: Tensor) -> None:
    """Scales 8-bit images: bilinear, half-pixel centres, no antialiasing.

    Args:
        pixels: `[B,H,W,3]` uint8 on any device.
        target: `[B,h,w,3]` uint8 on the same device, may be a part of a larger canvas; is filled
            with, bit for bit, what `cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)`
            gives.
    """
    if pixels.device.type == "cpu" and opencv_is_there():
        _resize_by_opencv(pixels, target)
    else:
        target.copy_(resize_by_steps(pixels, (target.shape[1], target.shape[2])))


def _resize_by_opencv(pixels: Tensor, target: Tensor) -> None:
    """OpenCV itself, ten times faster on the CPU than the same in torch."""
    import cv2

    size_wh = (target.shape[2], target.shape[1])
    for image, scaled in zip(pixels.numpy(), target.numpy(), strict=True):
        # Grey images arrive as expanded views, which OpenCV does not take.
        cv2.resize(np.ascontiguousarray(image), size_wh, dst=scaled)


def resize_by_steps(pixels: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """`resize_8bit` in torch operations; public so that it can be held against OpenCV anywhere.

    Args:
        pixels: `[B,H,W,3]` uint8 on any device.
        size_hw: Height and width to scale to, in pixels.

    Returns:
        `[B,h,w,3]` uint8 on the same device.

    Source:
        OpenCV 4 and 5, `modules/imgproc/src/resize.cpp`: `HResizeLinear` and `VResizeLinear` for
        8-bit images, with INTER_RESIZE_COEF_BITS = 11.
    """
    top, bottom, top_weight, bottom_weight = _taps(pixels.shape[1], size_hw[0], pixels.device)
    left, right, left_weight, right_weight = _taps(pixels.shape[2], size_hw[1], pixels.device)

    def lines(rows: Tensor) -> Tensor:
        source = pixels.index_select(1, rows)
        mixed = source.index_select(2, left).int() * left_weight[:, None]
        mixed += source.index_select(2, right).int() * right_weight[:, None]
        return mixed >> 4

    upper = (lines(top) * top_weight[:, None, None]) >> 16
    lower = (lines(bottom) * bottom_weight[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).to(torch.uint8)


def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each target place the two source places and their weights in steps."""
    # On the CPU in float64, for MPS has none; OpenCV too rounds to float32 only at the end.
    at = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    at = at.float()
    first = at.floor()
    share = at - first
    second_weight = (share * _STEPS).round().int()
    first_weight = ((1 - share) * _STEPS).round().int()
    low = first.long().clamp(0, source - 1)
    high = (first.long() + 1).clamp(0, source - 1)
    return (
        uploaded(low, device),
        uploaded(high, device),
        uploaded(first_weight, device),
        uploaded(second_weight, device),
    )
