"""Small windows of frames, cut out where a face must be and at the scale at which it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ...backends.interfaces import DetectionOptions
from ...utils.images import Images
from ...utils.letterbox import fitted_size
from ...utils.pixels import black_images, quantised, resize_8bit
from ..analyzer import Analyzer

#: Sides of windows are multiples of it, in pixels of the detector's input: its coarsest stride.
_SIDE_STEP = 32
_LEAST_SIDE = 64
#: Windows begin at multiples of it, so that anchors lie in the picture where they would lie in all
#: of it; those of the coarsest stride are for faces larger than any in a window.
_PLACE_STEP = 8
#: Batches of windows are filled up to multiples of it: engines keep something of every shape that
#: they have met, and windows come in any number.
_BATCH_STEP = 8
#: Pixels of a batch of windows at most: those of half a frame. Larger batches are hardly faster on
#: the CPU (4 % on two cores), and engines keep the memory that the largest one took.
_BATCH_PIXELS = 640 * 320
#: A face that is larger at the detector's scale is looked for at half of it, or a quarter.
_MOST_FACE = 112.0


class Window(NamedTuple):
    """Where a face is expected.

    Attributes:
        place: Of the frame.
        box: `[4]` xyxy in source pixels.
        around: Side of the window in sides of the face: what is around it, and how far it may be
            from where it is expected.
    """

    place: int
    box: np.ndarray
    around: float


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face that a detector found in a window.

    Attributes:
        box: `[4]` float32 xyxy in source pixels.
        score: 0..1.
        landmarks: `[5,2]` float32 in source pixels, or None.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray | None


@dataclass(frozen=True)
class _Cut:
    """A square of a frame that was scaled.

    Attributes:
        place: Of the frame.
        halvings: How often the detector's scale was halved.
        left, top: Its corner in the scaled frame, in pixels.
        side: In pixels.
    """

    place: int
    halvings: int
    left: int
    top: int
    side: int


def faces_in_windows(
    analyzer: Analyzer, pixels: Tensor, windows: Sequence[Window], options: DetectionOptions
) -> dict[int, list[Sighting]]:
    """What the detector finds around places in frames.

    Args:
        analyzer: The models.
        pixels: `[n,H,W,3]` RGB, uint8 0..255 or floating 0..1: the frames.
        windows: Where to look.
        options: As for whole frames; the scale is that of its largest size.

    Returns:
        By frame, without those where nothing was found. A face that lies in two windows is there
        twice.
    """
    largest = max(options.sizes_wh, key=lambda size_wh: size_wh[0] * size_wh[1])
    scaled = _ScaledFrames(pixels, largest)
    cuts: dict[int, dict[_Cut, None]] = {}
    for window in windows:
        cut = scaled.cut(window)
        cuts.setdefault(cut.side, {})[cut] = None
    found: dict[int, list[Sighting]] = {}
    fixed = analyzer.fixed_size_wh
    for side, ones in cuts.items():
        across = 1 if fixed is None else max(1, min(fixed) // side)
        squares = list(ones)
        # A network of one size always takes the same memory for an image.
        most = _windows_at_once(side) if across == 1 else len(squares)
        for start in range(0, len(squares), most):
            some = squares[start : start + most]
            for cut, sighting in _found(analyzer, scaled, some, across, options):
                found.setdefault(cut.place, []).append(sighting)
    return found


def _windows_at_once(side: int) -> int:
    """How many windows of a side in pixels a batch has at most."""
    fitting = _BATCH_PIXELS // side**2
    return max(1, fitting // _BATCH_STEP) * _BATCH_STEP


class _ScaledFrames:
    """Frames at the detector's scale, and at halves of it, each made when it is first needed."""

    def __init__(self, pixels: Tensor, size_wh: tuple[int, int]) -> None:
        self._pixels = pixels
        self._source_hw = (pixels.shape[1], pixels.shape[2])
        self._size_wh = size_wh
        self._scaled: dict[tuple[int, int], Tensor] = {}

    def filled_hw(self, halvings: int) -> tuple[int, int]:
        width, height = (max(1, side >> halvings) for side in self._size_wh)
        return fitted_size(self._source_hw, (width, height))

    def scale(self, halvings: int) -> float:
        """What coordinates in scaled frames are divided by to get source pixels."""
        return self.filled_hw(halvings)[0] / self._source_hw[0]

    def cut(self, window: Window) -> _Cut:
        """The square around a place."""
        left, top, right, bottom = (float(value) for value in window.box)
        halvings = 0
        while (face := max(right - left, bottom - top) * self.scale(halvings)) > _MOST_FACE:
            halvings += 1
        scale, filled_hw = self.scale(halvings), self.filled_hw(halvings)
        needed = face * window.around + _PLACE_STEP
        side = max(_LEAST_SIDE, int(np.ceil(needed / _SIDE_STEP)) * _SIDE_STEP)
        centre = ((left + right) / 2 * scale, (top + bottom) / 2 * scale)
        corner = [
            min(max(0, round((middle - side / 2) / _PLACE_STEP) * _PLACE_STEP), _last(length, side))
            for middle, length in zip(centre, filled_hw[::-1], strict=True)
        ]
        return _Cut(window.place, halvings, corner[0], corner[1], side)

    def black(self, count: int, side: int) -> Tensor:
        """Black squares `[count,side,side,3]` uint8 where the frames are."""
        return black_images((count, side, side, 3), self._pixels.device)

    def draw(self, cut: _Cut, target: Tensor) -> None:
        """Fills `target [side,side,3]` uint8 with a square; black is beyond the frame."""
        key = (cut.place, cut.halvings)
        if key not in self._scaled:
            frame = quantised(self._pixels[cut.place : cut.place + 1])
            scaled = frame.new_empty(1, *self.filled_hw(cut.halvings), 3)
            resize_8bit(frame, scaled)
            self._scaled[key] = scaled[0]
        scaled = self._scaled[key]
        part = scaled[cut.top : cut.top + cut.side, cut.left : cut.left + cut.side]
        target[: part.shape[0], : part.shape[1]] = part


def _last(length: int, side: int) -> int:
    """The last multiple of the step at which a square begins that leaves nothing out."""
    return max(0, -(-(length - side) // _PLACE_STEP) * _PLACE_STEP)


def _found(
    analyzer: Analyzer,
    scaled: _ScaledFrames,
    cuts: Sequence[_Cut],
    across: int,
    options: DetectionOptions,
) -> list[tuple[_Cut, Sighting]]:
    """What is found in squares of one side, so many of them across and down an image.

    Networks that take one size alone get as many squares at once as that holds.
    """
    side, each = cuts[0].side, across * across
    count = -(-len(cuts) // each)
    if across == 1:
        count = -(-count // _BATCH_STEP) * _BATCH_STEP
    pixels = scaled.black(count, across * side)
    squares = [
        pixels[number, down * side : (down + 1) * side, right * side : (right + 1) * side]
        for number in range(count)
        for down in range(across)
        for right in range(across)
    ]
    for cut, square in zip(cuts, squares, strict=False):
        scaled.draw(cut, square)
    size_wh = (across * side, across * side)
    faces = analyzer.detect(
        Images.from_comfy(pixels), replace(options, sizes_wh=(size_wh,), robust=False)
    ).to("cpu")
    result = []
    boxes, scores = faces.boxes.numpy(), faces.scores.tolist()
    for row, image in enumerate(faces.images_of_faces()):
        box = boxes[row]
        right, down = (
            int(np.clip((box[axis] + box[axis + 2]) / 2 // side, 0, across - 1)) for axis in (0, 1)
        )
        number = image * each + down * across + right
        if number >= len(cuts):
            continue
        cut = cuts[number]
        shift = np.array([cut.left - right * side, cut.top - down * side], np.float32)
        scale = np.float32(scaled.scale(cut.halvings))
        landmarks = None
        if faces.landmarks is not None:
            landmarks = (faces.landmarks[row].numpy() + shift) / scale
        sighting = Sighting((box + np.tile(shift, 2)) / scale, scores[row], landmarks)
        result.append((cut, sighting))
    return result
