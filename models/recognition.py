"""ArcFace and its kin: aligned crop in, identity embedding out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..backends.interfaces import Session, input_format
from ..backends.placement import RunsOn
from ..backends.residency.evictable_model import EvictableModel, managed_among
from ..utils.crop_spec import CropSource, CropSpec
from ..utils.faces import Faces
from ..utils.images import ImageBatch
from ..utils.metrics import stage
from ..utils.packs import ModelFile, ModelPack, Task
from .graph_input import network_input, square_side
from .outputs import values_a_face


class Recognition:
    """Embeds faces.

    Source:
        Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
        arXiv:1801.07698; conventions as in insightface 2.1, `model_zoo/arcface_onnx.py`.
    """

    task: Task = "recognition"

    def __init__(self, pack: ModelPack, model: ModelFile, session: Session) -> None:
        self.model = model
        self.session = session
        self.device = session.device
        self.view = self.view_of(model)
        self.size = self.view.size

    @classmethod
    def view_of(cls, model: ModelFile) -> CropSpec:
        """What such a network looks at."""
        return CropSpec(square_side(model))

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return managed_among(self.session)

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
        """`embeddings` `[N,D]` float32, not normalised.

        Raises:
            ModelError: The faces have no landmarks to align by.
        """
        with stage("align"):
            crops = self.view.crop(images, faces, self.view.matrices(faces, self.device))
        return {"embeddings": self.embed(crops).to(faces.device)}

    def embed(self, crops: ImageBatch) -> Tensor:
        """Embeds aligned crops `[N,size,size,3]` uint8: `[N,D]` float32.

        Raises:
            ModelError: The network gives no such thing.
        """
        x = network_input(crops, self.model, input_format(self.session))
        outputs = self.session.run(x)
        return values_a_face(outputs, self.model, len(crops.pixels))
