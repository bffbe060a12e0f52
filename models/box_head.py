"""What the heads that look at the square around a box have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..backends.interfaces import Session, input_format
from ..backends.placement import RunsOn
from ..backends.residency.evictable_model import EvictableModel, managed_among
from ..utils.crop_spec import CropSource, CropSpec
from ..utils.faces import Faces
from ..utils.packs import ModelFile, ModelPack, Task
from .graph_input import network_input, square_side
from .outputs import values_a_face

#: Side of the square over the longer side of the box.
_EXPANSION = 1.5


class BoxHead:
    """A head whose input is an upright square crop around the box."""

    def __init__(self, pack: ModelPack, model: ModelFile, session: Session) -> None:
        self.model = model
        self.task: Task = model.task
        self.session = session
        self.view = self.view_of(model)

    @classmethod
    def view_of(cls, model: ModelFile) -> CropSpec:
        """What such a network looks at."""
        return CropSpec(square_side(model), _EXPANSION)

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """See `HoldsNetworks`."""
        return managed_among(self.session)

    def predict(
        self, images: CropSource, faces: Faces, least: int, multiple: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Runs the network on every face.

        Args:
            images, faces: See `Head.describe`.
            least, multiple: How many values of a face there must be; see `values_a_face`.

        Returns:
            The output, `[N,K]` float32, and the matrices `[N,2,3]` from source to crop pixels,
            both on the session's device.

        Raises:
            ModelError: The network gives something else.
        """
        matrices = self.view.matrices(faces, self.session.device)
        crops = self.view.crop(images, faces, matrices)
        x = network_input(crops, self.model, input_format(self.session))
        outputs = self.session.run(x)
        return values_a_face(outputs, self.model, len(faces), least, multiple), matrices
