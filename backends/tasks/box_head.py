"""What the heads that look at the square around a box have in common."""

from __future__ import annotations

from torch import Tensor

from ...utils.align import centred_square, crop_faces
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.packs import ModelFile, ModelPack
from ..base import RunsOn, Session
from .inputs import network_input, square_side


class BoxHead:
    """A head whose input is an upright square crop around the box, cut by `centred_square`."""

    #: Side of the square over the longer side of the box.
    expansion = 1.5

    def __init__(self, pack: ModelPack, model: ModelFile, session: Session) -> None:
        self.model = model
        self.task = model.task
        self.session = session
        self.size = square_side(model)

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    def predict(self, images: Images, faces: Faces) -> tuple[Tensor, Tensor]:
        """Runs the network on every face.

        Returns:
            The first output, `[N,...]` float32, and the matrices `[N,2,3]` from source to
            crop pixels, both on the session's device.
        """
        matrices = centred_square(faces.boxes.to(self.session.device), self.size, self.expansion)
        crops = crop_faces(images, faces.images_of_faces(), matrices, self.size)
        (raw,) = self.session.run(network_input(crops, self.model))
        return raw.float().reshape(len(faces), -1), matrices
