"""From floating pictures to 8-bit levels, and how far their values reach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .resize import opencv_is_there


def quantised(pixels: Tensor) -> Tensor:
    """8-bit values of pixels of any shape and dtype; floating 0..1 is clamped and rounded."""
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.device.type == "cpu" and pixels.numel() and opencv_is_there():
        return _by_opencv(pixels)
    return (pixels.float() * 255).round_().clamp_(0, 255).to(torch.uint8)


def _by_opencv(pixels: Tensor) -> Tensor:
    """In one pass and in the calling thread: torch's threads, once woken, compete with those of the
    network that runs next.
    """
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
