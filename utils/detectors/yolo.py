"""YOLO's face detectors as they are exported to ONNX: YOLOv5-face, and YOLOv8 and YOLO11."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ModelError
from ..letterbox import Canvas
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader
from .family import Candidates, DetectorFamily, choose_best

_STRIDES = (8, 16, 32)
_GREY = (114, 114, 114)
_RANK = 3
_KEYPOINTS = 5
#: What a class of faces is called, besides what has "face" in it: names that say nothing.
_NAMELESS = ("0", "class0", "item", "object")


class _Yolo(DetectorFamily):
    """What exports of all versions have in common."""

    mean = 0.0
    std = 255.0
    clips = True

    @abstractmethod
    def values(self, header: GraphHeader) -> int | None:
        """How many numbers a place consists of; None for a graph that is not of the family."""

    def recognises(self, header: GraphHeader) -> bool:
        return self.values(header) is not None

    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        """In the middle of grey; where the network takes any size, no more grey than it needs.

        Source:
            ultralytics 8.4, `data/augment.py`, `LetterBox`; `utils/ops.py`, `scale_boxes`.
        """
        ratio = min(size_wh[1] / source_hw[0], size_wh[0] / source_hw[1])
        height, width = (max(round(side * ratio), 1) for side in source_hw)
        most = max(_STRIDES)
        columns, rows = fixed_size_wh or (-(-side // most) * most for side in (width, height))
        # The reference's own rounding of what is left above and below, left and right.
        origin = round((rows - height) / 2 - 0.1), round((columns - width) / 2 - 0.1)
        scale_xy = width / source_hw[1], height / source_hw[0]
        return Canvas(source_hw, (height, width), (rows, columns), origin, _GREY, scale_xy)


class Yolo8Face(_Yolo):
    """YOLOv8 and YOLO11 with one class; boxes alone, or five keypoints a face.

    Source:
        ultralytics 8.4: `nn/modules/head.py`, `Detect` and `Pose`; `utils/nms.py`;
        `models/yolo/pose/predict.py`; `cfg/default.yaml` for the thresholds.
    """

    name = "YOLOv8-face, YOLO11-face"
    graphs = "1 output [images, 5 | 15 | 20, places] of ultralytics, one class"
    threshold = 0.25
    nms_threshold = 0.7

    #: Box and score; with keypoints of x and y; with their visibility besides.
    _VALUES = (5, 5 + 2 * _KEYPOINTS, 5 + 3 * _KEYPOINTS)

    def values(self, header: GraphHeader) -> int | None:
        shape = header.outputs[0].shape
        if len(header.outputs) != 1 or len(shape) != _RANK:
            return None
        noted = dict(header.metadata)
        if "names" in noted and not _is_of_faces(noted["names"]):
            return None
        values = shape[1]
        if values is None and shape[2] is None:
            values = _noted_values(noted)
        return values if values in self._VALUES else None

    def has_landmarks(self, model: ModelFile) -> bool:
        values = self.values(model.header) if model.header else model.output_shapes[0][1]
        return values != self._VALUES[0]

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        (output,) = outputs
        places = _places(canvas_hw)
        _require(output, (self._VALUES, (places,)), model, canvas_hw)
        chosen = choose_best(output[:, 4].float(), threshold, most)
        rows = chosen.rows(output.transpose(1, 2))
        landmarks = None
        if rows.shape[2] > self._VALUES[0]:
            landmarks = rows[..., 5:].unflatten(-1, (_KEYPOINTS, -1))[..., :2]
        return chosen.candidates(_corners(rows), landmarks)


class Yolo5Face(_Yolo):
    """YOLOv5 with one class; boxes alone, or five landmarks a face.

    Source:
        https://github.com/deepcam-cn/yolov5-face: `models/yolo.py`, `utils/general.py`,
        `detect_face.py`.
    """

    name = "YOLOv5-face"
    graphs = "1 output [images, places, 6 | 16], one class"
    threshold = 0.6
    nms_threshold = 0.5

    #: Box, object, class; the same with landmarks before the class.
    _VALUES = (6, 6 + 2 * _KEYPOINTS)
    _ANCHORS = 3

    def values(self, header: GraphHeader) -> int | None:
        shape = header.outputs[0].shape
        if len(header.outputs) != 1 or len(shape) != _RANK:
            return None
        noted = dict(header.metadata)
        if "names" in noted and not _is_of_faces(noted["names"]):
            return None
        return shape[2] if shape[2] in self._VALUES else None

    def has_landmarks(self, model: ModelFile) -> bool:
        return model.output_shapes[0][2] != self._VALUES[0]

    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        (output,) = outputs
        _require(output, ((self._ANCHORS * _places(canvas_hw),), self._VALUES), model, canvas_hw)
        chosen = choose_best(output[..., 4].float() * output[..., -1].float(), threshold, most)
        rows = chosen.rows(output)
        landmarks = None
        if rows.shape[2] > self._VALUES[0]:
            landmarks = rows[..., 5:-1].unflatten(-1, (_KEYPOINTS, 2))
        return chosen.candidates(_corners(rows), landmarks)


def _places(canvas_hw: tuple[int, int]) -> int:
    return sum((canvas_hw[0] // stride) * (canvas_hw[1] // stride) for stride in _STRIDES)


def _corners(rows: Tensor) -> Tensor:
    """Boxes `[B,K,4]` xyxy of rows that begin with centre, width and height."""
    centre, half = rows[..., :2], rows[..., 2:4] / 2
    return torch.cat((centre - half, centre + half), -1)


def _require(
    output: Tensor, sizes: tuple[Sequence[int], ...], model: ModelFile, canvas_hw: tuple[int, int]
) -> None:
    fits = output.ndim == _RANK and all(
        got in want for got, want in zip(output.shape[1:], sizes, strict=True)
    )
    if not fits or output.is_complex():
        expected = " x ".join(" or ".join(map(str, want)) for want in sizes)
        raise ModelError(
            f"{model.path} gave an output of shape {tuple(output.shape)} for a {canvas_hw[1]} x "
            f"{canvas_hw[0]} input, expected [images] x {expected}; the file is damaged or of "
            "another form: export it again, without suppression (nms=False)"
        )


def _noted_values(noted: dict[str, str]) -> int | None:
    """How many numbers a place consists of, by what ultralytics noted; None where unknown."""
    if noted.get("task") == "detect":
        return 5
    shape = _literal(noted.get("kpt_shape", ""))
    if noted.get("task") != "pose" or not isinstance(shape, list) or len(shape) != 2:
        return None
    return 5 + shape[0] * shape[1] if shape[0] == _KEYPOINTS and shape[1] in (2, 3) else None


def _is_of_faces(names: str) -> bool:
    """Whether a graph knows one class, and that may be faces, by what its exporter noted."""
    classes = _literal(names)
    # YOLOv5 noted a list at first.
    known = list(classes.values()) if isinstance(classes, dict) else classes
    if not isinstance(known, list) or len(known) != 1:
        return False
    name = str(known[0]).lower()
    return "face" in name or name in _NAMELESS


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
