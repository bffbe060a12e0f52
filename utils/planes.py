"""From 8-bit pictures to the float planes that networks take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .resize import opencv_is_there


def rgb_planes(pixels: Tensor, bgr: bool) -> Tensor:
    """Separates the channels of 8-bit images.

    On the CPU OpenCV does it in the calling thread: the work is too small to share, and torch's
    threads, once woken, compete with those of the network that runs next.

    Args:
        pixels: `[B,H,W,3]` uint8 on any device.
        bgr: Whether the channels are blue, green, red.

    Returns:
        `[B,3,H,W]` float32 RGB 0..255 on the same device.
    """
    if pixels.device.type == "cpu" and len(pixels) and opencv_is_there():
        import cv2

        return torch.from_numpy(cv2.dnn.blobFromImages(list(pixels.numpy()), swapRB=bgr))
    planes = pixels.permute(0, 3, 1, 2).float()
    return planes.flip(1) if bgr else planes


def black_images(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Black 8-bit images `[B,H,W,3]`; on the CPU made in the calling thread, as `rgb_planes`."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=np.uint8))
    return torch.zeros(shape, dtype=torch.uint8, device=device)
