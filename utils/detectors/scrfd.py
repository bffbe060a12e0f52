"""SCRFD, the face detector of InsightFace's packs: its raw outputs as boxes and landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from ..errors import ModelError
from ..letterbox import Canvas
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader
from .family import Candidates, DetectorFamily, choose_best


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
#: `[anchors, C]`, `[images, anchors, C]`, or not stated.
_RANKS = {0, 2, 3}


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


class Scrfd(DetectorFamily):
    """Five landmarks a face, or none; one or two anchors at each place.

    Source:
        Guo et al., "Sample and Computation Redistribution for Efficient Face Detection",
        arXiv:2105.04714; conventions as in insightface 2.1, `model_zoo/scrfd.py`.
    """

    name = "SCRFD"
    graphs = "6, 9, 10 or 15 outputs of rows: scores, boxes, landmarks, each once a stride"
    mean = 127.5
    std = 128.0
    threshold = 0.5
    nms_threshold = 0.4
    side_excess_px = 1.0
    has_black_margins = True

    def recognises(self, header: GraphHeader) -> bool:
        ranks = {len(output.shape) for output in header.outputs}
        return len(header.outputs) in _LAYOUTS and ranks <= _RANKS

    def has_landmarks(self, model: ModelFile) -> bool:
        return anchor_layout(len(model.output_shapes)).landmarks

    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        return Canvas.fitting(source_hw, size_wh, fixed_size_wh)

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        return decode_scrfd(outputs, canvas_hw, threshold, most)


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
        most: Rows to give for each image, without waiting for the device; `passed` tells
            whether they were enough. None waits, and gives as many as passed in the fullest image.

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
    chosen = choose_best(scores, threshold, most)
    centre, stride = _places(canvas_hw, layout, chosen.anchor)
    picked = _picker(counts, chosen.anchor)
    distance = picked(outputs[levels : 2 * levels]) * stride
    boxes = torch.cat((centre - distance[..., :2], centre + distance[..., 2:]), -1)
    landmarks = None
    if layout.landmarks:
        offsets = (picked(outputs[2 * levels :]) * stride).unflatten(-1, (5, 2))
        landmarks = centre[:, :, None] + offsets
    return chosen.candidates(boxes, landmarks)


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
