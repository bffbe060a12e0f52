"""Pieces of work that fit: how many images at a time, and fewer when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from ..utils.errors import OutOfMemory
from ..utils.images import ImageBatch

_log = logging.getLogger("FastFace")

Result = TypeVar("Result")

#: On the CPU larger batches are hardly faster, and whoever presses stop waits for the end of one.
_MOST_ON_CPU = 4
_MOST_ON_GPU = 64

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
    if device.type != "cuda":
        return _MOST_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds without using it is free for us too.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    each = size_wh[0] * size_wh[1] * _BYTES_A_PIXEL + image_pixels * _BYTES_A_SOURCE_PIXEL
    return max(1, min(_MOST_ON_GPU, int((free + held) * _PLANNED_SHARE / each)))


def halving_when_full(batch: ImageBatch, run: Callable[[ImageBatch], Result]) -> list[Result]:
    """Runs a batch; when memory runs out, in halves, down to single images.

    Returns:
        The results of its parts, in the order of the images; one when all fitted.

    Raises:
        OutOfMemory: Not even one image fits.
    """
    try:
        return [run(batch)]
    except OutOfMemory:
        if len(batch.positions) == 1:
            raise
        half = len(batch.positions) // 2
        _log.warning("out of memory with %d images at once, going on with %d", 2 * half, half)
    # Out of the handler: its traceback holds the tensors that are to be let go.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return halving_when_full(batch[:half], run) + halving_when_full(batch[half:], run)
