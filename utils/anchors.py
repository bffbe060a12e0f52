"""Turns the raw outputs of SCRFD into boxes and landmarks, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from .errors import ModelError


@dataclass(frozen=True)
class AnchorLayout:
    """How an SCRFD graph arranges its outputs.

    Attributes:
        strides: Pixels between anchors, one for each feature map.
        anchors: Anchors at each place.
        landmarks: Whether the graph gives five landmarks a face.
    """

    strides: tuple[int, ...]
    anchors: int
    landmarks: bool


#: By number of outputs. Source: insightface 2.1, `model_zoo/scrfd.py`, `SCRFD._init_vars`.
_LAYOUTS = {
    6: AnchorLayout((8, 16, 32), 2, False),
    9: AnchorLayout((8, 16, 32), 2, True),
    10: AnchorLayout((8, 16, 32, 64, 128), 1, False),
    15: AnchorLayout((8, 16, 32, 64, 128), 1, True),
}


def anchor_layout(outputs: int) -> AnchorLayout:
    """The layout of a graph with this many outputs.

    Raises:
        ModelError: No SCRFD graph has this many.
    """
    try:
        return _LAYOUTS[outputs]
    except KeyError:
        raise ModelError(
            f"got a detector with {outputs} outputs, expected one of {sorted(_LAYOUTS)} as SCRFD "
            "has; choose a pack with an SCRFD detector"
        ) from None


#: What an anchor's score, distances to the sides of its box and landmark offsets consist of.
_VALUES = (1, 4, 10)
_KINDS = "scores, boxes, landmarks"


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


def decode_scrfd(
    outputs: Sequence[Tensor],
    canvas_hw: tuple[int, int],
    threshold: float,
    most: int | None = None,
) -> Candidates:
    """Decodes the outputs of an SCRFD graph.

    Args:
        outputs: Scores, then box distances, then (if there) landmark offsets, each once a stride,
            `[B,A,1]`, `[B,A,4]`, `[B,A,10]`, any floating dtype.
        canvas_hw: Height and width of the network's input, in pixels.
        threshold: Lowest score, 0..1.
        most: Rows to give for each image, without waiting for the device; whether they were enough
            is told by `passed`. None waits, and gives as many as passed in the fullest image.

    Returns:
        The best of what passed, for each image of the batch.

    Raises:
        ModelError: The outputs are not those of an SCRFD graph.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.forward`, `distance2bbox`, `distance2kps`.
        Guo et al., "Sample and Computation Redistribution for Efficient Face Detection",
        arXiv:2105.04714.
    """
    layout = anchor_layout(len(outputs))
    levels = len(layout.strides)
    _check_shapes(outputs, layout)
    counts = _anchors_of_levels(outputs[:levels], canvas_hw, layout)
    scores = torch.cat([output[..., 0] for output in outputs[:levels]], 1).float()
    passes = scores >= threshold
    passed = passes.sum(1)
    if most is None:
        most = int(passed.max()) if len(passed) else 0
    # Not by score alone: a NaN would count as the best of all.
    ranked = scores.masked_fill(~passes, -1.0)
    anchor = ranked.topk(min(most, scores.shape[1]), sorted=False).indices.sort(1).values
    centre, stride = _places(canvas_hw, layout, anchor)
    picked = _picker(counts, anchor)
    distance = picked(outputs[levels : 2 * levels]) * stride
    boxes = torch.cat((centre - distance[..., :2], centre + distance[..., 2:]), -1)
    landmarks = None
    if layout.landmarks:
        offsets = (picked(outputs[2 * levels :]) * stride).unflatten(-1, (5, 2))
        landmarks = centre[:, :, None] + offsets
    return Candidates(boxes, scores.gather(1, anchor), passes.gather(1, anchor), passed, landmarks)


def _check_shapes(outputs: Sequence[Tensor], layout: AnchorLayout) -> None:
    levels = len(layout.strides)
    for number, output in enumerate(outputs):
        kind, level = divmod(number, levels)
        scores = outputs[level]
        if output.shape != (*scores.shape[:2], _VALUES[kind]) or output.is_complex():
            raise ModelError(
                f"output {number} of the detector has shape {tuple(output.shape)} and type "
                f"{output.dtype}, expected [images, anchors, {_VALUES[kind]}] for {kind + 1} of "
                f"{_KINDS}; it is no SCRFD detector, or damaged: choose another pack"
            )


def _anchors_of_levels(
    scores: Sequence[Tensor], canvas_hw: tuple[int, int], layout: AnchorLayout
) -> list[int]:
    """How many anchors each level has, checked against what the graph gave."""
    height, width = canvas_hw
    counts = []
    for stride, output in zip(layout.strides, scores, strict=True):
        counts.append((height // stride) * (width // stride) * layout.anchors)
        if output.shape[1] != counts[-1]:
            raise ModelError(
                f"the detector gave {output.shape[1]} anchors for a {width} x {height} input, "
                f"expected {counts[-1]}; its strides are not SCRFD's {layout.strides}"
            )
    return counts


def _places(
    canvas_hw: tuple[int, int], layout: AnchorLayout, anchor: Tensor
) -> tuple[Tensor, Tensor]:
    """Centre `[B,K,2]` and stride `[B,K,1]` in pixels of anchors `[B,K]` over all levels."""
    places = _anchor_table(canvas_hw, layout, anchor.device)[anchor]
    return places[..., :2], places[..., 2:]


@lru_cache(maxsize=64)
def _anchor_table(canvas_hw: tuple[int, int], layout: AnchorLayout, device: torch.device) -> Tensor:
    """x, y and stride of every anchor, `[A,3]`, in the order of the graph's outputs."""
    levels = []
    for stride in layout.strides:
        y, x = torch.meshgrid(
            torch.arange(canvas_hw[0] // stride, device=device, dtype=torch.float32) * stride,
            torch.arange(canvas_hw[1] // stride, device=device, dtype=torch.float32) * stride,
            indexing="ij",
        )
        level = torch.stack((x, y, torch.full_like(x, stride)), -1).view(-1, 1, 3)
        levels.append(level.expand(-1, layout.anchors, -1).reshape(-1, 3))
    return torch.cat(levels)


def _picker(counts: Sequence[int], anchor: Tensor) -> Callable[[Sequence[Tensor]], Tensor]:
    """Picks the rows of anchors `[B,K]` out of outputs `[B,A,C]` of several levels.

    Level by level: joining the levels first would copy every anchor for the sake of a few.

    Args:
        counts: Anchors of each level.
        anchor: Counted over all levels.

    Returns:
        From one output a level to rows `[B,K,C]` float32.
    """
    firsts = [0, *accumulate(counts)]
    places = [
        (anchor - first).clamp(0, count - 1)[..., None]
        for count, first in zip(counts, firsts, strict=False)
    ]
    is_there = [(anchor >= first)[..., None] for first in firsts[1:-1]]

    def picked(outputs: Sequence[Tensor]) -> Tensor:
        rows, *others = (
            output.gather(1, place.expand(-1, -1, output.shape[2]))
            for output, place in zip(outputs, places, strict=True)
        )
        for level, there in zip(others, is_there, strict=True):
            rows = torch.where(there, level, rows)
        return rows.float()

    return picked
