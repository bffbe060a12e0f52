"""RetinaFace in the form of Pytorch_Retinaface, with MobileNet0.25 or ResNet50."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import ModelError
from ..letterbox import Canvas
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader, TensorInfo
from .family import Candidates, DetectorFamily, choose_best, snug_canvas

#: Pixels between the places of each level, and sides of the two priors at each place.
_LEVELS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
_MEAN_RGB = (123, 117, 104)
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
#: What there is of every prior: of how many numbers it consists, and how its names begin.
_BOXES, _SCORES, _LANDMARKS = 4, 2, 10
_NAMES = {
    _BOXES: ("loc", "box", "bbox"),
    _SCORES: ("conf", "cls", "score"),
    _LANDMARKS: ("land", "ldm", "kps"),
}
_RANK = 3


class RetinaFace(DetectorFamily):
    """Five landmarks a face; two priors every 8, 16 and 32 pixels, worked out and not stored.

    Source:
        https://github.com/biubug6/Pytorch_Retinaface: `detect.py`, `layers/functions/prior_box.py`,
        `utils/box_utils.py`, `utils/nms/py_cpu_nms.py`, `data/config.py`.
        Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild",
        arXiv:1905.00641.
    """

    name = "RetinaFace"
    graphs = "3 outputs [images, priors, 4 | 2 | 10]: boxes, scores, landmarks (loc, conf, landm)"
    mean = (float(_MEAN_RGB[2]), float(_MEAN_RGB[1]), float(_MEAN_RGB[0]))
    bgr = True
    threshold = 0.6
    nms_threshold = 0.4
    side_excess_px = 1.0

    def recognises(self, header: GraphHeader) -> bool:
        return _places_of(header.outputs) is not None

    def has_landmarks(self, model: ModelFile) -> bool:
        return True

    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        # Of the mean's colour nothing is left, as beyond the border of an image.
        return snug_canvas(source_hw, size_wh, fixed_size_wh, 1, _MEAN_RGB)

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        priors = _priors(canvas_hw, outputs[0].device)
        places = _places_of(model.header.outputs) if model.header else None
        boxes, scores, points = (
            _checked(outputs[place], len(priors), values, canvas_hw)
            for values, place in (places or {_BOXES: 0, _SCORES: 1, _LANDMARKS: 2}).items()
        )
        chosen = choose_best(scores[..., 1].float(), threshold, most)
        centre, side = priors[chosen.anchor].split(2, -1)
        box = chosen.rows(boxes)
        middle = centre + box[..., :2] * _CENTRE_VARIANCE * side
        half = side * (box[..., 2:] * _SIZE_VARIANCE).exp() / 2
        offsets = chosen.rows(points).unflatten(-1, (5, 2)) * _CENTRE_VARIANCE
        landmarks = centre[:, :, None] + offsets * side[:, :, None]
        return chosen.candidates(torch.cat((middle - half, middle + half), -1), landmarks)


def _places_of(outputs: Sequence[TensorInfo]) -> dict[int, int] | None:
    """Which output holds what, by how many numbers that consists of; None if it is not the family.

    Sizes tell; where the graph leaves them open, names do.
    """
    if len(outputs) != len(_NAMES) or any(len(output.shape) != _RANK for output in outputs):
        return None
    places: dict[int, int] = {}
    for place, output in enumerate(outputs):
        last, name = output.shape[-1], output.name.lower()
        for values, beginnings in _NAMES.items():
            if last == values or (last is None and name.startswith(beginnings)):
                places[values] = place
    if len(set(places.values())) != len(_NAMES):
        return None
    return {values: places[values] for values in _NAMES}


def _checked(output: Tensor, priors: int, values: int, canvas_hw: tuple[int, int]) -> Tensor:
    if output.shape[1:] != (priors, values) or output.is_complex():
        raise ModelError(
            f"RetinaFace gave an output of shape {tuple(output.shape)} for a {canvas_hw[1]} x "
            f"{canvas_hw[0]} input, expected [images, {priors}, {values}]; the file is damaged or "
            "of another form: download it again, or choose another pack"
        )
    return output


@lru_cache(maxsize=64)
def _priors(canvas_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Centre x, y and side (twice) of every prior in pixels, `[A,4]`, in the order of the rows."""
    levels = []
    for stride, sides in _LEVELS.items():
        rows, columns = (-(-size // stride) for size in canvas_hw)
        y, x = torch.meshgrid(
            (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride,
            (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride,
            indexing="ij",
        )
        for_each = [
            torch.stack((x, y, torch.full_like(x, side), torch.full_like(x, side)), -1)
            for side in sides
        ]
        levels.append(torch.stack(for_each, 2).view(-1, 4))
    return torch.cat(levels)
