"""`Candidates`: what the network of a detector of any family proposes, before suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..letterbox import Canvas


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
