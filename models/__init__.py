"""What a network is for: one file a task, each over a `Session` of any engine."""

from __future__ import annotations

from collections.abc import Callable

from ..backends.interfaces import Detector, Head, Session
from ..utils.errors import ModelError
from ..utils.packs import ModelFile, ModelPack
from ..utils.views import CropSpec
from .box_head import BoxHead
from .detection import FaceDetector
from .genderage import GenderAge
from .landmarks import Landmarks
from .recognition import Recognition
from .verification import Verification

_TASKS: dict[str, Callable[[ModelPack, ModelFile, Session], Detector | Head]] = {
    "detection": FaceDetector,
    "landmark_3d_68": Landmarks,
    "landmark_2d_106": Landmarks,
    "genderage": GenderAge,
    "recognition": Recognition,
    "verification": Verification,
}


def view_of(model: ModelFile) -> CropSpec | None:
    """What the network of a head looks at; None for tasks that need the whole image."""
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
    return kind(pack, model, session)
