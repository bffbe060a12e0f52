"""Turns the raw outputs of SCRFD into boxes and landmarks, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

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


@lru_cache(maxsize=64)
def _centres(height: int, width: int, stride: int, anchors: int, device: torch.device) -> Tensor:
    y, x = torch.meshgrid(
        torch.arange(height // stride, device=device, dtype=torch.float32) * stride,
        torch.arange(width // stride, device=device, dtype=torch.float32) * stride,
        indexing="ij",
    )
    return torch.stack((x, y), -1).view(-1, 1, 2).expand(-1, anchors, -1).reshape(-1, 2)


@dataclass(frozen=True)
class Candidates:
    """Anchors that passed the threshold, before suppression.

    Attributes:
        boxes: `[N,4]` float32 xyxy, in pixels of the network's canvas until `unscaled`.
        scores: `[N]` float32.
        image_index: `[N]` int64, rows of one image in the order of strides and anchors.
        landmarks: `[N,5,2]` float32, as the boxes, or None.
    """

    boxes: Tensor
    scores: Tensor
    image_index: Tensor
    landmarks: Tensor | None

    def unscaled(self, scale: float) -> Candidates:
        """The same with coordinates divided, to undo a letterbox."""
        landmarks = None if self.landmarks is None else self.landmarks / scale
        return replace(self, boxes=self.boxes / scale, landmarks=landmarks)


def decode_scrfd(
    outputs: Sequence[Tensor], canvas_hw: tuple[int, int], threshold: float
) -> Candidates:
    """Decodes the outputs of an SCRFD graph.

    Args:
        outputs: Scores, then box distances, then (if there) landmark offsets, each once a stride,
            `[B,A,1]`, `[B,A,4]`, `[B,A,10]`, any floating dtype.
        canvas_hw: Height and width of the network's input, in pixels.
        threshold: Lowest score, 0..1.

    Returns:
        What passed, over all images of the batch.

    Raises:
        ModelError: The outputs are not those of an SCRFD graph.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.forward`, `distance2bbox`, `distance2kps`.
        Guo et al., "Sample and Computation Redistribution for Efficient Face Detection",
        arXiv:2105.04714.
    """
    layout = anchor_layout(len(outputs))
    levels = len(layout.strides)
    height, width = canvas_hw
    centres = [
        _centres(height, width, stride, layout.anchors, outputs[0].device)
        for stride in layout.strides
    ]
    for centre, scores in zip(centres, outputs, strict=False):
        if scores.shape[1] != len(centre):
            raise ModelError(
                f"the detector gave {scores.shape[1]} anchors for a {width} x {height} input, "
                f"expected {len(centre)}; its strides are not SCRFD's {layout.strides}"
            )
    scores = torch.cat([output[..., 0] for output in outputs[:levels]], 1).float()
    image_index, anchor = torch.nonzero(scores >= threshold, as_tuple=True)

    def picked(first: int) -> Tensor:
        # Only what passed is decoded; the other anchors are never touched.
        return torch.cat(list(outputs[first : first + levels]), 1)[image_index, anchor].float()

    centre = torch.cat(centres)[anchor]
    stride = torch.cat(
        [c.new_full((len(c), 1), s) for c, s in zip(centres, layout.strides, strict=True)]
    )[anchor]
    distance = picked(levels) * stride
    boxes = torch.cat((centre - distance[:, :2], centre + distance[:, 2:]), 1)
    landmarks = None
    if layout.landmarks:
        landmarks = centre[:, None] + (picked(2 * levels) * stride).view(-1, 5, 2)
    return Candidates(boxes, scores[image_index, anchor], image_index, landmarks)
