"""Chunks of a film: decoded into a few buffers that are used again and again."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...utils.video.frames import Frame, Frames, ImageFrames
from ...utils.video.scenes import small_picture

#: Most bytes of a chunk: three are in memory at a time, whatever the film.
_MOST_BYTES = 100_000_000
_MOST_FRAMES = 32


class Chunk:
    """Frames of one size that follow one another, and, where wanted, the first one after them.

    Attributes:
        pixels: `[n,H,W,3]` RGB, uint8 0..255 or floating 0..1; `[n+1,H,W,3]` with the next one.
        numbers: Of its frames, without the next one.
        times: Seconds of each of them.
        small: `small_picture` of each, and of the next one.
    """

    def __init__(self, buffer: Tensor, free: queue.SimpleQueue[Tensor] | None = None) -> None:
        """
        Args:
            buffer: `[N,H,W,3]`, where its pixels are or will be.
            free: Where the buffer goes when they are not needed any more.
        """
        self._buffer = buffer
        self._free = free
        self.numbers: list[int] = []
        self.times: list[float] = []
        self.small: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def pixels(self) -> Tensor:
        return self._buffer[: len(self.small)]

    @property
    def has_next(self) -> bool:
        """Whether the next frame is there too."""
        return len(self.small) > len(self.numbers)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self._buffer.shape[1], self._buffer.shape[2]

    def add(self, frame: Frame) -> None:
        """Adds a frame of its size; copies the pixels."""
        self._add_pixels(frame)
        self.numbers.append(frame.number)
        self.times.append(frame.time)

    def add_next(self, frame: Frame) -> None:
        """Adds the first frame of the next chunk."""
        self._add_pixels(frame)

    def _add_pixels(self, frame: Frame) -> None:
        place = self._buffer[len(self.small)]
        place.copy_(frame.pixels)
        self.small.append(small_picture(place))

    def release(self) -> None:
        """Gives the pixels back: others will be written over them."""
        if self._free is not None:
            self._free.put(self._buffer)


def frames_at_once(frames: Frames, multiple: int) -> int:
    """How many frames a chunk has: as many as fit, a multiple of some number."""
    height, width = frames.size_hw
    fitting = min(_MOST_FRAMES, _MOST_BYTES // (3 * height * width * frames.dtype.itemsize))
    return max(1, fitting // multiple) * multiple


def chunks_of(frames: Frames, wanted: np.ndarray, at_once: int, with_next: bool) -> Iterator[Chunk]:
    """The wanted frames in chunks; whoever takes one releases it, too.

    Args:
        frames: A film.
        wanted: `[n]` rising numbers.
        at_once: Most frames of a chunk, which has fewer at the end and where the size changes.
        with_next: Whether chunks have the next frame too, where it is of the same size.
    """
    if isinstance(frames, ImageFrames):
        yield from _of_images(frames, wanted, at_once, with_next)
        return
    free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
    chunk: Chunk | None = None
    for frame in frames.read(wanted):
        size_hw = (frame.pixels.shape[0], frame.pixels.shape[1])
        if chunk is not None and (len(chunk) == at_once or chunk.size_hw != size_hw):
            if with_next and chunk.size_hw == size_hw:
                chunk.add_next(frame)
            yield chunk
            chunk = None
        if chunk is None:
            chunk = Chunk(_buffer(free, (at_once + with_next, *size_hw, 3)), free)
        chunk.add(frame)
    if chunk is not None:
        yield chunk


def _buffer(free: queue.SimpleQueue[Tensor], shape: tuple[int, ...]) -> Tensor:
    """A buffer that is not used any more, or a new one."""
    while not free.empty():
        buffer = free.get()
        if buffer.shape == shape:
            return buffer
    return torch.empty(shape, dtype=torch.uint8)


def _of_images(
    frames: ImageFrames, wanted: np.ndarray, at_once: int, with_next: bool
) -> Iterator[Chunk]:
    """Chunks of images that are in memory already: of frames that follow one another, views."""
    for first in range(0, len(wanted), at_once):
        numbers = wanted[first : first + at_once].tolist()
        further = wanted[first + at_once : first + at_once + 1].tolist() if with_next else []
        chunk = Chunk(frames.batch(numbers + further))
        chunk.numbers, chunk.times = numbers, frames.times[numbers].tolist()
        chunk.small = [small_picture(image) for image in chunk._buffer]
        yield chunk
