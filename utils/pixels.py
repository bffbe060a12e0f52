"""Small work on pixels: in the calling thread where they lie on the CPU, in torch elsewhere.

On the CPU it is too small to share: torch's threads, once woken, compete with those of the network
that runs next. OpenCV and numpy do it there, with the same results.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .modules import has_module


@lru_cache(maxsize=1)
def opencv_is_there() -> bool:
    """Whether OpenCV is installed; what it does is done in torch where it is not."""
    return has_module("cv2")


def quantised(pixels: Tensor) -> Tensor:
    """8-bit values of pixels of any shape and dtype; floating 0..1 is clamped and rounded."""
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.device.type == "cpu" and pixels.numel() and opencv_is_there():
        return _by_opencv(pixels)
    return (pixels.float() * 255).round_().clamp_(0, 255).to(torch.uint8)


def _by_opencv(pixels: Tensor) -> Tensor:
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
