"""Opens the model of a task: the network by its backend, and around it what the task is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backends.base import Backend, GraphBackend
from ..backends.facenet_networks.networks import InceptionNetwork, MtcnnNetworks
from ..backends.interfaces import CanvasSession, Detector, Head, Session
from ..backends.placement import Placement
from ..backends.sessions.margin_session import WholeCanvases
from ..utils.crop_spec import CropSpec
from ..utils.errors import ModelError
from ..utils.packs import ModelFile, ModelPack, Task
from .box_head import BoxHead
from .detection import FaceDetector
from .facenet.inception import InceptionEmbedder
from .facenet.mtcnn import Mtcnn
from .genderage import GenderAge
from .landmarks import Landmarks
from .recognition import Recognition
from .verification import Verification

#: Each takes a pack, one of its models, and its session: a `CanvasSession` for detection.
_TASKS: dict[Task, Callable[[ModelPack, ModelFile, Any], Detector | Head]] = {
    "detection": FaceDetector,
    "landmark_3d_68": Landmarks,
    "landmark_2d_106": Landmarks,
    "genderage": GenderAge,
    "recognition": Recognition,
    "verification": Verification,
}

#: What is made of several networks that belong together.
_MADE_OF: dict[type, Callable[[Any], Detector | Head]] = {
    MtcnnNetworks: Mtcnn,
    InceptionNetwork: InceptionEmbedder,
}


def open_model(
    backend: Backend, pack: ModelPack, task: Task, placement: Placement
) -> Detector | Head:
    """Loads the model of one task of a pack; raises as `Backend.open` and `open_task`."""
    opened = backend.open(pack, task, placement)
    if isinstance(opened, Session):
        return open_task(pack, pack.model(task), opened)
    made_of = _MADE_OF.get(type(opened))
    return opened if made_of is None else made_of(opened)


def view_of(backend: Backend, model: ModelFile) -> CropSpec | None:
    """What a model looks at of a face; None where it wants the whole image."""
    if not isinstance(backend, GraphBackend):
        return None
    kind = _TASKS.get(model.task)
    if isinstance(kind, type) and issubclass(kind, (BoxHead, Recognition)):
        return kind.view_of(model)
    return None


def open_task(pack: ModelPack, model: ModelFile, session: Session) -> Detector | Head:
    """Puts a session to the use its pack says it has.

    Raises:
        ModelError: No such task.
    """
    try:
        kind = _TASKS[model.task]
    except KeyError:
        raise ModelError(
            f"got a model of task {model.task!r} ({model.path}), expected one of {sorted(_TASKS)}"
        ) from None
    if kind is FaceDetector and not isinstance(session, CanvasSession):
        session = WholeCanvases(session)
    return kind(pack, model, session)
