"""What decides the faces that are found, as JSON can hold it: keys of results kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..utils.packs import Task
from ..utils.packs.checksums import content_of

if TYPE_CHECKING:
    from .insightface_compat.facade import FaceAnalysis

RECOGNITION: Task = "recognition"


def describing_tasks(face_analysis: FaceAnalysis) -> list[Task]:
    """Recognition, if its pack says who somebody is, and that was not left out."""
    allowed = face_analysis.tasks is None or RECOGNITION in face_analysis.tasks
    return [RECOGNITION] if allowed and RECOGNITION in face_analysis.analyzer.pack.tasks else []


def result_key(face_analysis: FaceAnalysis, tasks: Sequence[Task]) -> dict[str, Any]:
    """Models by content, device and settings of an object.

    Args:
        face_analysis: That finds and describes the faces.
        tasks: What it adds to them.
    """
    analyzer, options = face_analysis.analyzer, face_analysis.options()
    pack = analyzer.pack
    return {
        "models": {task: content_of(pack.model(task)) for task in ("detection", *tasks)},
        "backend": [analyzer.backend.name, analyzer.placement.device, analyzer.placement.precision],
        "detection": [
            [list(size) for size in options.sizes_wh],
            options.threshold,
            options.nms_threshold,
            options.robust,
            face_analysis.max_faces,
        ],
        "persons": [person.fingerprint for person in face_analysis.order.persons],
    }
