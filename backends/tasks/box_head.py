"""What the heads that look at the square around a box have in common."""

from __future__ import annotations

from torch import Tensor

from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.packs import ModelFile, ModelPack
from ...utils.views import FaceView
from ..interfaces import Session
from ..placement import RunsOn
from .inputs import network_input, square_side

#: Side of the square over the longer side of the box.
_EXPANSION = 1.5


class BoxHead:
    """A head whose input is an upright square crop around the box."""

    def __init__(self, pack: ModelPack, model: ModelFile, session: Session) -> None:
        self.model = model
        self.task = model.task
        self.session = session
        self.view = self.view_of(model)

    @classmethod
    def view_of(cls, model: ModelFile) -> FaceView:
        """What such a network looks at."""
        return FaceView(square_side(model), _EXPANSION)

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    def predict(self, images: Images, faces: Faces) -> tuple[Tensor, Tensor]:
        """Runs the network on every face.

        Returns:
            The first output, `[N,...]` float32, and the matrices `[N,2,3]` from source to
            crop pixels, both on the session's device.
        """
        matrices = self.view.matrices(faces, self.session.device)
        crops = self.view.crop(images, faces, matrices)
        (raw,) = self.session.run(network_input(crops, self.model))
        return raw.float().reshape(len(faces), -1), matrices
