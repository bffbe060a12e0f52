"""Pieces of work that fit: how many images at a time, and fewer when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from .errors import OutOfMemory
from .memory import free_vram, memory_errors_explained, return_memory
from .settings import settings

_log = logging.getLogger("FastFace")

Result = TypeVar("Result")
Part = TypeVar("Part", bound="Divisible")


class Divisible(Protocol):
    """What can be cut into parts of itself."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


#: On the CPU larger batches are hardly faster, and whoever presses stop waits for the end of one:
#: so many images of this many pixels at a time, and of smaller ones as many more.
_MOST_ON_CPU = 4
_PIXELS_ON_CPU = 640 * 640
_MOST_ON_GPU = 64
#: Engines keep the memory of the largest batch: on two cores sixteen crops at a time, with half of
#: it, are as fast as thirty-two.
_MOST_FACES_ON_CPU = 16
_MOST_FACES_ON_GPU = 32

#: Memory that a detector takes for each pixel of its canvas while it runs, in bytes: measured on
#: SCRFD-10G in fp32, with room to spare.
_BYTES_A_PIXEL = 400
#: And for each pixel of the picture itself: three floats, scaled, and rounded to bytes.
_BYTES_A_SOURCE_PIXEL = 3 * (4 + 4 + 1)
#: Share of the free memory that may be planned with; others take some between now and then.
_PLANNED_SHARE = 0.5


def images_at_once(device: torch.device, size_wh: tuple[int, int], image_pixels: int) -> int:
    """How many images a detector is given at a time.

    Args:
        device: Where it runs.
        size_wh: Its input size in pixels.
        image_pixels: Pixels of the largest image.
    """
    free = free_vram(device)
    if free is None:
        smaller = _PIXELS_ON_CPU // (size_wh[0] * size_wh[1])
        most = min(_MOST_ON_GPU, _MOST_ON_CPU * max(1, smaller))
        return min(most, settings().batch_size or most)
    planned = free * _PLANNED_SHARE
    if budget := settings().gpu_mem_limit:
        planned = min(planned, budget)
    each = size_wh[0] * size_wh[1] * _BYTES_A_PIXEL + image_pixels * _BYTES_A_SOURCE_PIXEL
    most = min(_MOST_ON_GPU, settings().batch_size or _MOST_ON_GPU)
    return max(1, min(most, int(planned / each)))


def faces_at_once(on_cpu: bool) -> int:
    """How many faces a network is given at a time, on the CPU or elsewhere."""
    most = _MOST_FACES_ON_CPU if on_cpu else _MOST_FACES_ON_GPU
    return min(most, settings().batch_size or most)


def run_with_oom_retry(batch: Part, run: Callable[[Part], Result]) -> list[Result]:
    """Runs a batch, of images or of faces; when memory runs out, in halves, down to single ones.

    Returns:
        The results of its parts, in their order; one when all fitted.

    Raises:
        OutOfMemory: Not even one fits.
    """
    try:
        with memory_errors_explained():
            return [run(batch)]
    except OutOfMemory:
        if len(batch) <= 1:
            raise
        half = len(batch) // 2
        _log.warning("out of memory with %d at once, going on with %d", len(batch), half)
    # Out of the handler: its traceback holds the tensors that are to be let go.
    return_memory()
    return run_with_oom_retry(batch[:half], run) + run_with_oom_retry(batch[half:], run)
