"""What facenet-pytorch lets its users set, under its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...utils.choose import SELECTION_METHODS
from ...utils.errors import InvalidInput

#: Side in pixels of the crops that InceptionResnetV1 was trained on.
IMAGE_SIZE = 160
#: Keeps every face: the library's `keep_all`.
ALL = "all"


@dataclass(frozen=True)
class MtcnnParameters:
    """Parameters of `facenet_pytorch.MTCNN`, with its defaults.

    Attributes:
        min_face_size: Side in pixels of the smallest face to look for.
        thresholds: Lowest probability after PNet, RNet and ONet, 0..1 each.
        factor: Size of each level of the pyramid over that of the one before, above 0, below 1.
        margin: Pixels of a crop of 160 that lie outside the box, both sides together.
        selection_method: `all`, or which one face of each image to keep: a method of
            `utils.choose.select_boxes`.

    Raises:
        InvalidInput: A value is out of its range.
    """

    of: ClassVar[str] = "MTCNN"
    packs: ClassVar[str] = "a model_pack that begins with facenet"

    min_face_size: int = 20
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    factor: float = 0.709
    margin: int = 0
    selection_method: str = ALL

    def __post_init__(self) -> None:
        _require(self.min_face_size >= 1, "min_face_size", self.min_face_size, "1 pixel or more")
        _require(
            len(self.thresholds) == 3 and all(0 <= value <= 1 for value in self.thresholds),
            "thresholds",
            self.thresholds,
            "three numbers from 0 to 1",
        )
        _require(0 < self.factor < 1, "factor", self.factor, "more than 0 and less than 1")
        _require(0 <= self.margin < IMAGE_SIZE, "margin", self.margin, f"0 to {IMAGE_SIZE - 1}")
        methods = (ALL, *SELECTION_METHODS)
        _require(
            self.selection_method in methods,
            "selection_method",
            self.selection_method,
            f"one of {', '.join(methods)}",
        )


def _require(condition: bool, name: str, got: object, expected: str) -> None:
    if not condition:
        raise InvalidInput(f"got {name} {got!r}, expected {expected}")
