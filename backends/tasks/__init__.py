"""What a network is for: one file a task, each over a `Session` of any engine."""

from __future__ import annotations

from collections.abc import Callable

from ...utils.errors import ModelError
from ...utils.packs import ModelFile, ModelPack
from ..base import Detector, Head, Session
from .genderage import GenderAge
from .landmarks import Landmarks
from .recognition import Recognition
from .scrfd import Scrfd
from .verification import Verification

_TASKS: dict[str, Callable[[ModelPack, ModelFile, Session], Detector | Head]] = {
    "detection": Scrfd,
    "landmark_3d_68": Landmarks,
    "landmark_2d_106": Landmarks,
    "genderage": GenderAge,
    "recognition": Recognition,
    "verification": Verification,
}


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
