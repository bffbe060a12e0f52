"""8-bit pictures: black ones to draw on, and the float planes that networks take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .images import ImageBatch
from .resize import opencv_is_there


def black_images(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Black images `[B,H,W,3]` uint8."""
    if device.type == "cpu":
        # In the calling thread: the work is too small to share, and torch's threads, once woken,
        # compete with those of the network that runs next.
        return torch.from_numpy(np.zeros(shape, dtype=np.uint8))
    return torch.zeros(shape, dtype=torch.uint8, device=device)


def copy_within(target: Tensor, source: Tensor) -> None:
    """Copies numbers into a tensor of the same type on the same device; sizes of 1 are repeated."""
    if target.device.type == "cpu" and target.dtype != torch.bfloat16:  # which numpy hasn't got
        np.copyto(target.numpy(), source.numpy())  # in the calling thread; see `black_images`
    else:
        target.copy_(source)


def colour_planes(batch: ImageBatch, bgr: bool = False) -> Tensor:
    """The channels of 8-bit images as planes.

    Args:
        batch: `[B,H,W,3]` uint8 on any device.
        bgr: Whether the planes are blue, green, red; else they are red, green, blue.

    Returns:
        `[B,3,H,W]` float32 0..255 on the same device, in memory of its own.
    """
    pixels = batch.pixels
    if pixels.device.type == "cpu" and opencv_is_there():
        return torch.from_numpy(_planes_by_opencv(pixels.numpy(), batch.bgr != bgr))
    planes = pixels.permute(0, 3, 1, 2).float()
    return planes.flip(1) if batch.bgr != bgr else planes


def _planes_by_opencv(pixels: np.ndarray, reverse: bool) -> np.ndarray:
    """In the calling thread, and with no more memory than the result, unlike `blobFromImages`:
    what is taken and given back for every image costs more than the work itself.
    """
    import cv2

    planes = np.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=np.float32)
    for image, target in zip(pixels, planes, strict=True):
        for plane, row in zip(cv2.split(image), target[::-1] if reverse else target, strict=True):
            np.copyto(row, plane)
    return planes
