"""YuNet, the face detector of OpenCV's `FaceDetectorYN`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import ModelError
from ..letterbox import Canvas
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader
from .family import Candidates, DetectorFamily, choose_best, snug_canvas

_STRIDES = (8, 16, 32)
#: What there is of every place, and of how many numbers it consists.
_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_NAMES = tuple(f"{kind}_{stride}" for kind in _VALUES for stride in _STRIDES)


class YuNet(DetectorFamily):
    """Five landmarks a face; one place every 8, 16 and 32 pixels.

    Source:
        OpenCV 4.12, `modules/objdetect/src/face_detect.cpp`, `FaceDetectorYNImpl`.
        Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", MIR 2023.
    """

    name = "YuNet"
    graphs = "12 outputs cls_8 to kps_32"
    bgr = True
    threshold = 0.9
    nms_threshold = 0.3

    def recognises(self, header: GraphHeader) -> bool:
        return {output.name for output in header.outputs} == set(_NAMES)

    def has_landmarks(self, model: ModelFile) -> bool:
        return True

    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        return snug_canvas(source_hw, size_wh, fixed_size_wh, _STRIDES[-1])

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        places = _places(canvas_hw, outputs[0].device)
        names = [output.name for output in model.header.outputs] if model.header else _NAMES
        by_name = dict(zip(names, outputs, strict=True))
        _check_shapes(by_name, canvas_hw)
        cls, obj, bbox, kps = (
            torch.cat([by_name[f"{kind}_{stride}"] for stride in _STRIDES], 1) for kind in _VALUES
        )
        certain = cls[..., 0].float().clamp(0, 1) * obj[..., 0].float().clamp(0, 1)
        chosen = choose_best(certain.sqrt(), threshold, most)
        corner, stride = places[chosen.anchor].split((2, 1), -1)
        box = chosen.rows(bbox)
        centre = corner + box[..., :2] * stride
        half = box[..., 2:].exp() * stride / 2
        offsets = (chosen.rows(kps) * stride).unflatten(-1, (5, 2))
        boxes = torch.cat((centre - half, centre + half), -1)
        return chosen.candidates(boxes, corner[:, :, None] + offsets)

    def suppressed(self, boxes: Tensor) -> Tensor:
        # OpenCV holds boxes of whole pixels against each other.
        corner, size = boxes[..., :2].trunc(), (boxes[..., 2:] - boxes[..., :2]).trunc()
        return torch.cat((corner, corner + size), -1)


def _check_shapes(outputs: dict[str, Tensor], canvas_hw: tuple[int, int]) -> None:
    images = next(iter(outputs.values())).shape[:1]
    for kind, values in _VALUES.items():
        for stride in _STRIDES:
            name = f"{kind}_{stride}"
            expected = (*images, (canvas_hw[0] // stride) * (canvas_hw[1] // stride), values)
            if outputs[name].shape != expected or outputs[name].is_complex():
                raise ModelError(
                    f"output {name} of YuNet has shape {tuple(outputs[name].shape)} for a "
                    f"{canvas_hw[1]} x {canvas_hw[0]} input, expected {expected}; the file is "
                    "damaged: download it again"
                )


@lru_cache(maxsize=64)
def _places(canvas_hw: tuple[int, int], device: torch.device) -> Tensor:
    """x, y and stride in pixels of every place, `[A,3]`."""
    levels = []
    for stride in _STRIDES:
        y, x = torch.meshgrid(
            torch.arange(canvas_hw[0] // stride, device=device, dtype=torch.float32) * stride,
            torch.arange(canvas_hw[1] // stride, device=device, dtype=torch.float32) * stride,
            indexing="ij",
        )
        levels.append(torch.stack((x, y, torch.full_like(x, stride)), -1).view(-1, 3))
    return torch.cat(levels)
