"""The images that everyone is given, in the form in which the user has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import InvalidInput
from ..utils.images import Images

#: Where the images come from, and what that means.
SOURCES = {
    "photo": "uint8 pixels in main memory, as decoded from a file",
    "image": "a ComfyUI IMAGE (float 0..1) in main memory",
    "gpu": "a ComfyUI IMAGE (float 0..1) on the contestant's device, as after a VAE",
}


class BenchmarkInputs:
    """A batch of equal-sized images.

    Whoever needs another form makes it in the time that is measured, as a node of theirs would.
    """

    def __init__(self, pixels: np.ndarray, source: str, device: torch.device) -> None:
        """
        Args:
            pixels: `[B,H,W,3]` uint8 RGB.
            source: One of `SOURCES`.
            device: The contestant's; `gpu` puts the images there.
        """
        if source not in SOURCES:
            raise InvalidInput(f"got source {source!r}, expected one of {', '.join(SOURCES)}")
        self._bgr = [np.ascontiguousarray(image[..., ::-1]) for image in pixels]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        if source != "photo":
            tensor = tensor.float() / 255
        self.tensor: Tensor = tensor.to(device) if source == "gpu" else tensor
        self._is_photo = source == "photo"

    def __len__(self) -> int:
        return len(self._bgr)

    def images(self) -> Images:
        """For ours."""
        return Images.from_comfy(self.tensor)

    def bgr(self) -> list[np.ndarray]:
        """`[H,W,3]` uint8 BGR each, for those who take what OpenCV reads."""
        if self._is_photo:
            return self._bgr
        pixels = self.tensor.mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [np.ascontiguousarray(image[..., ::-1]) for image in pixels]

    def rgb(self) -> list[np.ndarray]:
        """`[H,W,3]` uint8 RGB each."""
        return [np.ascontiguousarray(image[..., ::-1]) for image in self.bgr()]


def fitted(photo: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A photo scaled to fit a size, on black, in the middle; `[H,W,3]` uint8."""
    from PIL import Image

    height, width = size_hw
    scale = min(height / photo.shape[0], width / photo.shape[1])
    inner_h, inner_w = (max(1, round(side * scale)) for side in photo.shape[:2])
    resized = Image.fromarray(photo).resize((inner_w, inner_h), Image.Resampling.LANCZOS)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    canvas[top : top + inner_h, left : left + inner_w] = np.asarray(resized)
    return canvas


def batch_of(
    photos: Sequence[np.ndarray], size_hw: tuple[int, int] | None, count: int
) -> np.ndarray:
    """As many images as wanted, from photos taken in turn.

    Args:
        photos: `[H,W,3]` uint8 RGB each, one at least.
        size_hw: Size of the images; None takes the first photo's own.
        count: How many.

    Returns:
        `[count,H,W,3]` uint8 RGB.
    """
    size = size_hw or (photos[0].shape[0], photos[0].shape[1])
    some = photos[:count]
    ready = [photo if photo.shape[:2] == size else fitted(photo, size) for photo in some]
    return np.stack([ready[index % len(ready)] for index in range(count)])
