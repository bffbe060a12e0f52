"""Face or not: the second look that insightface 2.x packs bring."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..utils.crop_spec import CropSource, CropSpec
from ..utils.faces import Faces
from ..utils.packs import ModelFile
from .box_head import BoxHead
from .graph_input import square_side


class Verification(BoxHead):
    """Scores how likely a box really holds a face.

    Source:
        insightface 2.1, `model_zoo/face_verifier.py`.
    """

    @classmethod
    def view_of(cls, model: ModelFile) -> CropSpec:
        """What such a network looks at."""
        return CropSpec(square_side(model), model.expansion)

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """`verification` `[N]` float32, 0..1."""
        raw, _ = self.predict(images, faces, least=1)
        return {"verification": raw[:, 0].to(faces.device)}
