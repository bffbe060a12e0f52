"""`DetectorFamily`: what face detectors of one kind have in common, and `Candidates`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..letterbox import Canvas, fitted_size
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader

#: Axes of a detector's input: images, channels, height, width.
_INPUT_RANK = 4


@dataclass(frozen=True)
class Candidates:
    """The best anchors of each image, before suppression: K of them, in the order of the anchors.

    Attributes:
        boxes: `[B,K,4]` float32 xyxy, in pixels of the network's canvas until `unscaled`.
        scores: `[B,K]` float32.
        present: `[B,K]` bool, which of them passed the threshold; the others only fill the rows.
        passed: `[B]` int64, how many anchors passed: those beyond K are missing here.
        landmarks: `[B,K,5,2]` float32, as the boxes, or None.
    """

    boxes: Tensor
    scores: Tensor
    present: Tensor
    passed: Tensor
    landmarks: Tensor | None

    def unscaled(self, scale: float) -> Candidates:
        """The same with coordinates divided, to undo a letterbox."""
        landmarks = None if self.landmarks is None else self.landmarks / scale
        return replace(self, boxes=self.boxes / scale, landmarks=landmarks)

    def in_source(self, canvas: Canvas) -> Candidates:
        """The same in pixels of the source images, of coordinates on a canvas."""
        scale_xy, (top, left) = canvas.scale_xy, canvas.origin
        if scale_xy is None:
            return self.unscaled(canvas.scale)

        def undone(places: Tensor) -> Tensor:
            # x and y by themselves: no tensor has to be sent to the device.
            x = (places[..., 0::2] - left) / scale_xy[0]
            y = (places[..., 1::2] - top) / scale_xy[1]
            return torch.stack((x, y), -1).flatten(-2)

        landmarks = None if self.landmarks is None else undone(self.landmarks)
        return replace(self, boxes=undone(self.boxes), landmarks=landmarks)

    def clipped(self, size_hw: tuple[int, int]) -> Candidates:
        """The same cut off at the border of images of a height and width, in their pixels."""

        def inside(places: Tensor) -> Tensor:
            x = places[..., 0::2].clamp(0, size_hw[1])
            y = places[..., 1::2].clamp(0, size_hw[0])
            return torch.stack((x, y), -1).flatten(-2)

        landmarks = None if self.landmarks is None else inside(self.landmarks)
        return replace(self, boxes=inside(self.boxes), landmarks=landmarks)

    @staticmethod
    def cat(parts: Sequence[Candidates]) -> Candidates:
        """Joins what was found in the same images at several sizes; `passed` is their sum."""
        if len(parts) == 1:
            return parts[0]
        landmarks = [part.landmarks for part in parts if part.landmarks is not None]
        return Candidates(
            boxes=torch.cat([part.boxes for part in parts], 1),
            scores=torch.cat([part.scores for part in parts], 1),
            present=torch.cat([part.present for part in parts], 1),
            passed=torch.stack([part.passed for part in parts]).sum(0),
            landmarks=torch.cat(landmarks, 1) if landmarks else None,
        )


class DetectorFamily(ABC):
    """How the graphs of one family of face detectors are fed and what their outputs mean.

    Attributes:
        name: As people call it; `ModelFile.family` holds it.
        graphs: What its graphs look like, in a few words, for errors.
        mean, std: Its networks expect `(pixels_0_to_255 - mean) / std`; `mean` is one number, or
            one for each channel in the network's order.
        bgr: Whether the network's channels are blue, green, red.
        threshold: Lowest score that tells a face from none, 0..1, as its authors set it.
        nms_threshold: Overlap above which the weaker of two faces goes, 0..1, likewise.
        side_excess_px: How much longer the sides of boxes count in overlaps.
        clips: Whether boxes and landmarks end at the image's border.
        has_black_margins: Whether canvases have black margins at the right and below that are
            worth skipping; see `MarginSession`.
    """

    name: ClassVar[str]
    graphs: ClassVar[str]
    mean: ClassVar[float | tuple[float, float, float]] = 0.0
    std: ClassVar[float] = 1.0
    bgr: ClassVar[bool] = False
    threshold: ClassVar[float]
    nms_threshold: ClassVar[float]
    side_excess_px: ClassVar[float] = 0.0
    clips: ClassVar[bool] = False
    has_black_margins: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, header: GraphHeader) -> bool:
        """Whether a graph that takes one batch of images is one of the family."""

    @abstractmethod
    def has_landmarks(self, model: ModelFile) -> bool:
        """Whether a graph of the family gives five landmarks a face."""

    @abstractmethod
    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        """Where an image lies on the network's input.

        Args:
            source_hw: Height and width of the image in pixels.
            size_wh: Width and height to fit it into.
            fixed_size_wh: The only input the network takes, no smaller than `size_wh`, or None.
        """

    @abstractmethod
    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        """What the outputs say, in pixels of the canvas.

        Args:
            outputs: Of the graph in its order, each with the image first, any floating dtype.
            model: The graph.
            canvas_hw: Height and width of the network's input, in pixels.
            threshold: Lowest score, 0..1.
            most: See `choose_best`.

        Raises:
            ModelError: The outputs are not those of the family.
        """

    def suppressed(self, boxes: Tensor) -> Tensor:
        """The boxes `[...,4]` xyxy whose overlaps count, of those in source pixels."""
        return boxes


def takes_images(header: GraphHeader) -> bool:
    """Whether a graph has one input, and that has the axes of a batch of images.

    Whether the sizes are those of any image is seen to before it is opened.
    """
    return len(header.inputs) == 1 and len(header.inputs[0].shape) == _INPUT_RANK


def snug_canvas(
    source_hw: tuple[int, int],
    size_wh: tuple[int, int],
    fixed_size_wh: tuple[int, int] | None,
    multiple: int,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> Canvas:
    """A canvas no larger than the image on it needs, which lies at the upper left.

    Args:
        source_hw, size_wh, fixed_size_wh: See `DetectorFamily.canvas`.
        multiple: Its sides are multiples of this, in pixels.
        fill: Colour of the rest, RGB 0..255.
    """
    filled_hw = fitted_size(source_hw, size_wh)
    if fixed_size_wh is None:
        height, width = (-(-side // multiple) * multiple for side in filled_hw)
    else:
        width, height = fixed_size_wh
    scale_xy = filled_hw[1] / source_hw[1], filled_hw[0] / source_hw[0]
    return Canvas(source_hw, filled_hw, (height, width), fill=fill, scale_xy=scale_xy)


@dataclass(frozen=True)
class ChosenAnchors:
    """Which anchors of each image are looked at further.

    Attributes:
        anchor: `[B,K]` int64, in rising order.
        scores: `[B,K]` float32 of them.
        present, passed: See `Candidates`.
    """

    anchor: Tensor
    scores: Tensor
    present: Tensor
    passed: Tensor

    def rows(self, values: Tensor) -> Tensor:
        """Their rows `[B,K,C]` float32 of an output `[B,A,C]`."""
        return values.gather(1, self.anchor[..., None].expand(-1, -1, values.shape[2])).float()

    def candidates(self, boxes: Tensor, landmarks: Tensor | None) -> Candidates:
        """With what was worked out of them: `[B,K,4]` xyxy and `[B,K,5,2]`."""
        return Candidates(boxes, self.scores, self.present, self.passed, landmarks)


def choose_best(scores: Tensor, threshold: float, most: int | None) -> ChosenAnchors:
    """The anchors with the highest scores.

    Args:
        scores: `[B,A]` float32.
        threshold: Lowest score that passes.
        most: Rows to give for each image, without waiting for the device; None waits, and gives as
            many as passed in the fullest image.
    """
    passes = scores >= threshold
    passed = passes.sum(1)
    if most is None:
        most = int(passed.max()) if len(passed) else 0
    # Not by score alone: a NaN would count as the best of all.
    ranked = scores.masked_fill(~passes, -1.0)
    anchor = ranked.topk(min(most, scores.shape[1]), sorted=False).indices.sort(1).values
    return ChosenAnchors(anchor, scores.gather(1, anchor), passes.gather(1, anchor), passed)
