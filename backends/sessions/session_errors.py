"""What every session refuses before a run, and what it says when one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ...utils.errors import (
    BackendUnavailable,
    FastFaceError,
    InvalidInput,
    ModelError,
    OutOfMemory,
)
from ...utils.memory import is_out_of_memory
from ..placement import RunsOn

_LESS_MEMORY = (
    "use fewer images at a time or a smaller det_size, or free memory by unloading models"
)


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
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}; it ran out of memory: {_LESS_MEMORY}")
    if not on_cpu:
        return BackendUnavailable(
            f"{where}; choose device cpu, or reload the model once the device works again"
        )
    return ModelError(f"{where}; the file may be damaged: delete it and download the pack again")


@contextmanager
def torch_memory_errors(x: Tensor, runs_on: RunsOn) -> Iterator[None]:
    """Makes `OutOfMemory` of what torch raises inside when it can't allocate, on any device.

    Args:
        x: The input of the run.
        runs_on: What runs it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"{runs_on} ran out of memory for input {tuple(x.shape)}: {_LESS_MEMORY}"
        ) from error
