"""RetinaFace in InsightFace's own form, from before SCRFD: feature maps named `..._stride32`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import ModelError
from ..letterbox import Canvas
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader, TensorInfo
from .family import Candidates, DetectorFamily, choose_best, snug_canvas

#: Pixels between the places of each level, and sides of the two anchors at each place.
_LEVELS = {32: (512, 256), 16: (128, 64), 8: (32, 16)}
_ANCHORS = 2
#: Where the first anchors' centre lies: in the middle of 16 pixels, counted from 0 to 15.
_FIRST_CENTRE = 7.5
_NAME = re.compile(r"(cls_prob|bbox_pred|landmark_pred)\w*_stride(\d+)")
#: Channels of the maps of each kind.
_CHANNELS = {"cls_prob": _ANCHORS * 2, "bbox_pred": _ANCHORS * 4, "landmark_pred": _ANCHORS * 10}
_RANK = 4


class InsightFaceRetinaFace(DetectorFamily):
    """Five landmarks a face, or none; two anchors every 32, 16 and 8 pixels.

    Source:
        https://github.com/deepinsight/insightface, `detection/retinaface/retinaface.py` (network
        `net3`) and `rcnn/processing/generate_anchor.py`.
    """

    name = "InsightFace RetinaFace"
    graphs = "6 or 9 outputs face_rpn_{cls_prob,bbox_pred,landmark_pred}..._stride{32,16,8}"
    threshold = 0.5
    nms_threshold = 0.4
    side_excess_px = 1.0

    def recognises(self, header: GraphHeader) -> bool:
        return _places_of(header.outputs) is not None

    def has_landmarks(self, model: ModelFile) -> bool:
        return len(model.output_shapes) == len(_CHANNELS) * len(_LEVELS)

    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        return snug_canvas(source_hw, size_wh, fixed_size_wh, max(_LEVELS))

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        places = _places_of(model.header.outputs) if model.header else None
        if places is None:
            raise ModelError(f"{model.path} has no outputs of {self.name}; read its pack again")
        rows = {
            kind: torch.cat(
                [
                    _rows(outputs[places[kind, stride]], kind, stride, canvas_hw)
                    for stride in _LEVELS
                ],
                1,
            )
            for kind in _CHANNELS
            if (kind, max(_LEVELS)) in places
        }
        chosen = choose_best(rows["cls_prob"][..., 0].float(), threshold, most)
        anchors = _anchors(canvas_hw, outputs[0].device)[chosen.anchor]
        centre, side = anchors.split((2, 1), -1)
        box = chosen.rows(rows["bbox_pred"])
        middle = centre + box[..., :2] * side
        half = (box[..., 2:].exp() * side - 1) / 2
        corners = torch.cat((middle - half, middle + half), -1).unflatten(-1, (2, 2))
        inside = torch.stack(
            [corners[..., axis].clamp(0, canvas_hw[1 - axis] - 1) for axis in (0, 1)], -1
        )
        landmarks = None
        if "landmark_pred" in rows:
            offsets = chosen.rows(rows["landmark_pred"]).unflatten(-1, (5, 2))
            landmarks = centre[:, :, None] + offsets * side[:, :, None]
        return chosen.candidates(inside.flatten(-2), landmarks)


def _places_of(outputs: Sequence[TensorInfo]) -> dict[tuple[str, int], int] | None:
    """Which output holds what of which stride; None if it is not the family."""
    places: dict[tuple[str, int], int] = {}
    for place, output in enumerate(outputs):
        named = _NAME.search(output.name)
        if named is None or len(output.shape) != _RANK:
            return None
        kind, stride = named[1], int(named[2])
        if output.shape[1] not in (_CHANNELS[kind], None):
            return None
        places[kind, stride] = place
    kinds = [kind for kind in _CHANNELS if any(kind == known for known, _ in places)]
    is_whole = set(places) == {(kind, stride) for kind in kinds for stride in _LEVELS}
    has_boxes = "cls_prob" in kinds and "bbox_pred" in kinds
    return places if is_whole and has_boxes and len(places) == len(outputs) else None


def _rows(output: Tensor, kind: str, stride: int, canvas_hw: tuple[int, int]) -> Tensor:
    """A feature map as rows `[B,A,C]`, one an anchor; of the scores those for a face alone."""
    expected = (_CHANNELS[kind], canvas_hw[0] // stride, canvas_hw[1] // stride)
    if output.shape[1:] != expected or output.is_complex():
        raise ModelError(
            f"output {kind} of stride {stride} has shape {tuple(output.shape)} for a "
            f"{canvas_hw[1]} x {canvas_hw[0]} input, expected [images, *{expected}]; the file is "
            "damaged: download it again, or choose another pack"
        )
    maps = output[:, _ANCHORS:] if kind == "cls_prob" else output
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, maps.shape[1] // _ANCHORS)


@lru_cache(maxsize=64)
def _anchors(canvas_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Centre x, y and side of every anchor in pixels, `[A,3]`, in the order of the rows."""
    levels = []
    for stride, sides in _LEVELS.items():
        y, x = torch.meshgrid(
            torch.arange(canvas_hw[0] // stride, device=device, dtype=torch.float32) * stride,
            torch.arange(canvas_hw[1] // stride, device=device, dtype=torch.float32) * stride,
            indexing="ij",
        )
        x, y = x + _FIRST_CENTRE, y + _FIRST_CENTRE
        for_each = [torch.stack((x, y, torch.full_like(x, side)), -1) for side in sides]
        levels.append(torch.stack(for_each, 2).view(-1, 3))
    return torch.cat(levels)
