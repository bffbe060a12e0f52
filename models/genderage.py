"""Gender and age."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..utils.crop_spec import CropSource
from ..utils.faces import Faces
from .box_head import BoxHead


class GenderAge(BoxHead):
    """Guesses gender and age.

    Source:
        insightface 2.1, `model_zoo/attribute.py`.
    """

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """`gender` `[N]` int64, 0 female, 1 male; `age` `[N]` int64 in years."""
        raw, _ = self.predict(images, faces, least=3)
        return {
            "gender": raw[:, :2].argmax(1).to(faces.device),
            "age": (raw[:, 2] * 100).round().long().to(faces.device),
        }
