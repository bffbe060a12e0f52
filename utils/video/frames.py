"""What films and batches of images have in common: frames by number, with the time of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import xxhash
from torch import Tensor

from ..errors import InvalidInput
from ..images import Images
from ..progress import may_stop


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it is shown.

    Attributes:
        number: In the film, from 0.
        time: When it is shown, in seconds from the film's beginning.
        pixels: `[H,W,3]` RGB, uint8 0..255 or floating 0..1; may be a view.
    """

    number: int
    time: float
    pixels: Tensor


class Frames(Protocol):
    """A film, wherever its frames are.

    Attributes:
        path: The file; None where there is none.
        size_hw: Height and width of its first frame as it is shown, in pixels.
        rotation: Degrees by which stored frames are turned counterclockwise to be shown.
        average_rate: Frames a second.
        content: Stands for all that it shows; None where finding out would cost too much.
        times: `[N]` float64, seconds of each frame, as far as can be known before decoding.
        dtype: Of the pixels.
        notes: What people should know about it, such as that the file ends early.
    """

    @property
    def path(self) -> str | None: ...

    @property
    def size_hw(self) -> tuple[int, int]: ...

    @property
    def rotation(self) -> int: ...

    @property
    def average_rate(self) -> Fraction: ...

    @property
    def content(self) -> str | None: ...

    @property
    def times(self) -> np.ndarray: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, wanted: np.ndarray) -> Iterator[Frame]:
        """The frames of these rising numbers; those that can't be decoded are left out."""
        ...


class ImageFrames:
    """An IMAGE batch as a film; see `Frames`."""

    path = None
    rotation = 0
    notes = ()

    def __init__(self, images: Tensor, rate: Fraction) -> None:
        """
        Args:
            images: `[B,H,W,C]`, as `Images.from_comfy` takes it.
            rate: Images a second, more than 0.

        Raises:
            InvalidInput: It is no IMAGE, or there is none in it.
        """
        checked = Images.from_comfy(images)
        if not len(checked):
            raise InvalidInput("got an IMAGE batch without images, expected at least one frame")
        (self._images,) = checked.sources
        self.size_hw = checked.sizes_hw[0]
        self.average_rate = rate
        self.dtype = self._images.dtype
        self.times = np.arange(len(checked)) / float(rate)

    @property
    def content(self) -> str | None:
        """Stands for shape and pixels; None on other devices than the CPU.

        Not cryptographic, and the same in every process: images are the user's own.
        """
        return self._content

    @cached_property
    def _content(self) -> str | None:
        if self._images.device.type != "cpu":
            return None
        content = xxhash.xxh3_128(repr((tuple(self._images.shape), self.dtype)).encode())
        for image in self._images:
            may_stop()
            content.update(image.contiguous().flatten().view(torch.uint8).numpy().data)
        return content.hexdigest()

    def batch(self, numbers: list[int]) -> Tensor:
        """The images of these rising numbers `[n,H,W,3]`; a view where none is left out."""
        if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
            return self._images[numbers[0] : numbers[-1] + 1]
        return self._images[numbers]

    def read(self, wanted: np.ndarray) -> Iterator[Frame]:
        for number in wanted.tolist():
            yield Frame(number, float(self.times[number]), self._images[number])
