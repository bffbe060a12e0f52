"""Puts crops and canvases into the form a graph was trained on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import ModelError
from ..utils.images import ImageBatch
from ..utils.packs import ModelFile
from ..utils.pixels import opencv_is_there

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}


def network_input(
    batch: ImageBatch,
    model: ModelFile,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """`(pixels - mean) / std` in the dtype of the graph's input.

    Args:
        batch: `[B,H,W,3]` uint8, canvases or crops.
        model: Says mean, std and dtype; mean 0 and std 1 mean that the graph does it itself.
        memory_format: See `scaled_planes`.

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
    if dtype == torch.uint8 and (model.mean or model.std != 1.0):
        raise ModelError(
            f"{model.path} takes uint8 input, but with mean {model.mean} and std "
            f"{model.std:g}, expected 0 and 1; such a graph scales its input itself"
        )
    return scaled_planes(batch, model.mean, model.std, model.bgr, memory_format).to(dtype)


def scaled_planes(
    batch: ImageBatch,
    mean: float | tuple[float, float, float],
    std: float,
    bgr: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """The channels of 8-bit images as planes of `(pixels - mean) / std`.

    Args:
        batch: `[B,H,W,3]` uint8 on any device.
        mean: Of all planes, or of each in the order of `bgr`.
        std: Of all planes.
        bgr: Whether the planes are blue, green, red; else they are red, green, blue.
        memory_format: In which they lie in memory on the CPU; elsewhere that is left open.

    Returns:
        `[B,3,H,W]` float32 on the same device, in memory of its own.
    """
    pixels = batch.pixels
    means = mean if isinstance(mean, tuple) else (mean, mean, mean)
    if pixels.device.type == "cpu" and opencv_is_there():
        scale = _planes_by_opencv
        if memory_format == torch.channels_last:
            scale = _scaled_by_opencv
        return torch.from_numpy(scale(pixels.numpy(), means, std, batch.bgr != bgr))
    planes = pixels.permute(0, 3, 1, 2).float()
    if batch.bgr != bgr:
        planes = planes.flip(1)
    if isinstance(mean, tuple):
        for channel, value in enumerate(means):
            planes[:, channel].sub_(value)
    elif mean:
        planes.sub_(mean)
    return planes if std == 1.0 else planes.div_(std)


def _planes_by_opencv(
    pixels: np.ndarray, means: tuple[float, float, float], std: float, reverse: bool
) -> np.ndarray:
    """By tables of all 256 levels, with no more memory than the result, unlike `blobFromImages`:
    what is taken and given back for every image costs more than the work itself.
    """
    import cv2

    tables = _tables(means, std)
    planes = np.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=np.float32)
    for image, target in zip(pixels, planes, strict=True):
        colours = cv2.split(image)
        for colour, table, plane in zip(
            colours[::-1] if reverse else colours, tables, target, strict=True
        ):
            cv2.LUT(colour, table, dst=plane)
    return planes


def _scaled_by_opencv(
    pixels: np.ndarray, means: tuple[float, float, float], std: float, reverse: bool
) -> np.ndarray:
    """The same as a view `[B,3,H,W]` of images whose pixels lie together, in half the time."""
    import cv2

    # All values of an image have one table, or each of its channels has.
    tables = _tables(means, std)
    is_one = means[0] == means[1] == means[2]
    table = tables[0] if is_one else np.ascontiguousarray(tables.T)[None]
    scaled = np.empty(pixels.shape, dtype=np.float32)
    for image, target in zip(pixels, scaled, strict=True):
        ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if reverse else image
        shape = (len(image), -1) if is_one else image.shape
        cv2.LUT(ordered.reshape(shape), table, dst=target.reshape(shape))
    return scaled.transpose(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _tables(means: tuple[float, float, float], std: float) -> np.ndarray:
    """What each level becomes in each plane, `[3,256]` float32."""
    levels = np.arange(256, dtype=np.float32)
    return (levels - np.asarray(means, dtype=np.float32)[:, None]) / np.float32(std)


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
