"""Images to run a network on while it is made."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Patches in an image, the smallest of them, and the noise over it all, 0..255.
_PATCHES, _SMALLEST_PATCH_PX, _NOISE = 1500, 3, 4.0


def photo_like(count: int, side: int) -> Tensor:
    """Random images with the edges and flat places of photos: patches that hide one another.

    Returns:
        `[count,3,side,side]` float32, 0..255, the same in every call.

    Source:
        Lee et al., "Occlusion Models for Natural Images", IJCV 2001: sizes of the patches.
    """
    random = np.random.default_rng(0)
    images = np.zeros((count, 3, side, side), np.float32)
    for image in images:
        for _ in range(_PATCHES):
            # Ten times as large is ten times as rare, down to a few pixels.
            size = _SMALLEST_PATCH_PX / (1 - random.random() * (1 - _SMALLEST_PATCH_PX / side))
            height, width = (size * 2 ** random.uniform(-1, 1, 2)).astype(int)
            top, left = random.integers(-side // 2, side, 2)
            colour = random.uniform(0, 255) + random.normal(0, 25, (3, 1, 1))
            bottom, right = max(0, top + height), max(0, left + width)
            image[:, max(0, top) : bottom, max(0, left) : right] = colour
        image += random.normal(0, _NOISE, image.shape)
    return torch.from_numpy(images.clip(0, 255))
