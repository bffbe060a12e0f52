"""Puts crops and canvases into the form a graph was trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...utils.errors import ModelError
from ...utils.packs import ModelFile

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}


def normalise(pixels: Tensor, model: ModelFile) -> Tensor:
    """`(pixels - mean) / std` in the dtype of the graph's input.

    Args:
        pixels: `[B,3,H,W]` float32 RGB 0..255 in whole steps.
        model: Says mean, std and dtype; mean 0 and std 1 mean that the graph does it itself.

    Raises:
        ModelError: The graph takes a dtype that such pixels have no place in.
    """
    dtype = _DTYPES.get(model.input_dtype)
    if dtype is None:
        raise ModelError(
            f"{model.path} takes {model.input_dtype} input, expected one of {sorted(_DTYPES)}"
        )
    if model.mean or model.std != 1.0:
        if dtype == torch.uint8:
            raise ModelError(
                f"{model.path} takes uint8 input, but with mean {model.mean:g} and std "
                f"{model.std:g}, expected 0 and 1; such a graph scales its input itself"
            )
        pixels = _scaled(pixels, model.mean, model.std)
    return pixels.to(dtype)


def _scaled(pixels: Tensor, mean: float, std: float) -> Tensor:
    if pixels.device.type != "cpu":
        return (pixels - mean) / std
    # In the calling thread, for the reason given in `rgb_planes`.
    scaled = np.subtract(pixels.numpy(), np.float32(mean))
    return torch.from_numpy(np.divide(scaled, np.float32(std), out=scaled))


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
