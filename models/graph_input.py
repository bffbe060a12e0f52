"""Puts crops and canvases into the form a graph was trained on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import ModelError
from ..utils.images import ImageBatch
from ..utils.packs import ModelFile
from ..utils.pixels import opencv_is_there

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}


def network_input(batch: ImageBatch, model: ModelFile) -> Tensor:
    """`(pixels - mean) / std` as planes in the dtype of the graph's input.

    Args:
        batch: `[B,H,W,3]` uint8, canvases or crops.
        model: Says mean, std and dtype; mean 0 and std 1 mean that the graph does it itself.

    Returns:
        `[B,3,H,W]` on the batch's device, in the model's order of channels.

    Raises:
        ModelError: The graph takes a dtype that such pixels have no place in.
    """
    dtype = _DTYPES.get(model.input_dtype)
    if dtype is None:
        raise ModelError(
            f"{model.path} takes {model.input_dtype} input, expected one of {sorted(_DTYPES)}"
        )
    planes = colour_planes(batch, model.bgr)
    if model.mean or model.std != 1.0:
        if dtype == torch.uint8:
            raise ModelError(
                f"{model.path} takes uint8 input, but with mean {model.mean} and std "
                f"{model.std:g}, expected 0 and 1; such a graph scales its input itself"
            )
        _scale(planes, model.mean, model.std)
    return planes.to(dtype)


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


def _scale(planes: Tensor, mean: float | tuple[float, float, float], std: float) -> None:
    """In place: twice the memory would cost more time than the arithmetic."""
    if planes.device.type == "cpu":
        # In the calling thread, for the reason given in `utils/pixels.py`.
        values = planes.numpy()
        np.subtract(values, np.asarray(mean, dtype=np.float32).reshape(-1, 1, 1), out=values)
        if math.frexp(std)[0] == 0.5:
            # Of a power of two the reciprocal is exact, and multiplying is faster.
            np.multiply(values, np.float32(1 / std), out=values)
        else:
            np.divide(values, np.float32(std), out=values)
    else:
        if isinstance(mean, tuple):
            for channel, value in enumerate(mean):
                planes[:, channel].sub_(value)
        else:
            planes.sub_(mean)
        planes.div_(std)


def square_side(model: ModelFile) -> int:
    """Side in pixels of the square crops a model takes.

    Raises:
        ModelError: The graph's input is not a fixed square.
    """
    size = model.fixed_size_wh
    if size is None or size[0] != size[1]:
        raise ModelError(
            f"{model.path} ({model.task}) takes input {model.input_shape}, expected a fixed square"
        )
    return size[0]
