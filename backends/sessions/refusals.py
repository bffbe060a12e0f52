"""What every session refuses before a run, and what it says when one fails."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...utils.errors import (
    BackendUnavailable,
    FastFaceError,
    InvalidInput,
    ModelError,
    OutOfMemory,
)
from ..placement import RunsOn


def out_of_memory(error: Exception) -> bool:
    """Whether an error of a runtime or of torch is about too little memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "bad_alloc" in text


def check_input(
    x: Tensor, device: torch.device, shape: Sequence[int | None], file_name: str
) -> None:
    """Refuses what a graph can't be given.

    Args:
        x: The input.
        device: Where it has to be.
        shape: What it has to be, None where any size will do.
        file_name: Names the graph in errors.

    Raises:
        InvalidInput: It is empty, elsewhere, or not of the graph's shape.
    """
    if x.device != device:
        raise InvalidInput(
            f"{file_name}: got a tensor on {x.device}, expected it on {device}; "
            "move it with x.to(session.device)"
        )
    fits = len(shape) == x.ndim and all(
        want is None or want == got for want, got in zip(shape, x.shape, strict=True)
    )
    if not fits or x.numel() == 0:
        expected = ["any" if size is None else size for size in shape]
        raise InvalidInput(
            f"{file_name}: got a tensor of shape {tuple(x.shape)}, expected {expected}"
        )


def explained(
    error: Exception, x: Tensor, file_name: str, runs_on: RunsOn, on_cpu: bool
) -> FastFaceError:
    """The error to raise for what a runtime raised in a run.

    Args:
        error: What it raised.
        x: The input.
        file_name: Names the graph.
        runs_on: What ran it.
        on_cpu: Whether that is the CPU, where only the file can be to blame.
    """
    where = f"{file_name}: {runs_on.provider} failed for {tuple(x.shape)}: {error}"
    if out_of_memory(error):
        return OutOfMemory(
            f"{where}; it ran out of memory: use fewer images at a time or a smaller det_size, "
            "or free memory by unloading models"
        )
    if not on_cpu:
        return BackendUnavailable(
            f"{where}; choose device cpu, or reload the model once the device works again"
        )
    return ModelError(f"{where}; the file may be damaged: delete it and download the pack again")
