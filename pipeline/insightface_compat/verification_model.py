"""`VerificationModel`: the face verifier of insightface 2.x's packs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...utils.images import Images
from ...utils.insightface_fields import faces_from_arrays
from .models import HeadModel
from .overridable import overridable


class VerificationModel(HeadModel):
    """How likely boxes hold faces, with the calls of `insightface.model_zoo.FaceVerifier`.

    Attributes:
        input_size: Side of the square crops it takes, in pixels: a number, unlike other models'.
        crop_expansion: Side of the crop over the longer side of the box.

    Source:
        insightface 2.1, `model_zoo/face_verifier.py`.
    """

    @overridable
    def input_size(self) -> int:
        size = self.file.fixed_size_wh
        return 0 if size is None else size[0]

    @overridable
    def crop_expansion(self) -> float:
        return self.file.expansion

    @overridable
    def output_name(self) -> str:
        return self.output_names[0]

    def verify(self, frame: np.ndarray, boxes: Sequence[Any]) -> list[dict[str, float]]:
        """The probability of each box `[4]` in an image `[H,W,3]` uint8 BGR to hold a face."""
        if len(boxes) == 0:
            return []
        rows = np.array([[*box[:4], 1.0] for box in boxes], dtype=np.float32)
        faces = faces_from_arrays(rows, None, frame.shape[:2])
        images = Images.from_bgr(frame)
        described = self.compute(lambda analyzer: analyzer.describe(images, faces, [self.taskname]))
        scores = described.verification
        return [] if scores is None else [{"face_probability": score} for score in scores.tolist()]

    score_boxes = verify

    def preprocess(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Crops `[S,S,3]` uint8 BGR as the network's input `[N,3,S,S]`."""
        side = self.input_size
        planes = [np.asarray(crop)[..., ::-1].transpose(2, 0, 1) for crop in crops]
        batch = np.stack(planes) if planes else np.empty((0, 3, side, side), np.uint8)
        return self.normalized(batch)
