"""From what a detector finds in one image to the faces that a caller of `FaceAnalysis` gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from ...utils.content import image_key
from ...utils.faces import Faces
from ...utils.images import Images
from ...utils.insightface_fields import FACE_KEYS, faces_from_arrays
from .addons import LIVENESS, is_not_live
from .face import Face
from .lazy_faces import FrameRecord, LazyImageFaces, SharedImage
from .models import DetectionModel, HeadModel, most_faces
from .result_cache import PICTURES, RECORDS, Found

if TYPE_CHECKING:
    from .facade import FaceAnalysis


class ChosenFaces(NamedTuple):
    """The faces of an image as far as they are known, and the rows of those that callers get."""

    frame: LazyImageFaces
    rows: list[int]


def faces_of_image(
    app: FaceAnalysis, img: np.ndarray, max_num: int, metric: str, det_size: Any
) -> list[Face]:
    """What `FaceAnalysis.get` gives for a checked image `[H,W,3]` uint8 BGR."""
    key = image_key(img)
    found, limit = _found(app, img, key, max_num, metric, det_size)
    if len(found[0]) == 0:
        return []
    frame, rows = chosen_faces(app, img, key, found, limit, metric)
    if frame.needs_picture():
        frame.look_at(PICTURES.get_or_make(key, lambda: SharedImage(img)))
        if key not in PICTURES:
            frame.shrink()
    return [_face(app, img, frame, row, found) for row in rows]


def _found(
    app: FaceAnalysis, img: np.ndarray, key: bytes, max_num: int, metric: str, det_size: Any
) -> tuple[Found, int]:
    """What was found, and how many faces of it may be given: 0 for the object's own limit."""
    model = app.det_model
    limit = most_faces(max_num)
    if isinstance(model, DetectionModel) and "detect" not in vars(model):
        # The image was looked at once to make its key, and is not looked at again.
        return model.found(img, key, model.options(det_size)), limit
    # What a consumer put there may know upstream's arguments alone.
    size = {} if det_size is None else {"input_size": det_size}
    if not app.order.persons:
        return model.detect(img, max_num=max_num, metric=metric, **size), -1
    with app.order.suspended():
        return model.detect(img, max_num=0, metric=metric, **size), limit


def chosen_faces(
    app: FaceAnalysis, img: np.ndarray, key: bytes, found: Found, limit: int, metric: str
) -> ChosenFaces:
    """Which of the faces of an image callers get.

    Args:
        app: Whose order and limit count.
        img: `[H,W,3]` uint8 BGR.
        key: Its `image_key`.
        found: All its faces.
        limit: Most faces; 0 takes the object's own limit, below 0 there is none.
        metric: See `FaceAnalysis.get`.
    """
    boxes, landmarks = found
    places = boxes.tobytes() if landmarks is None else boxes.tobytes() + landmarks.tobytes()
    record = RECORDS.get_or_make(
        (app.analyzer.serial, key, places),
        lambda: FrameRecord(faces_from_arrays(boxes, landmarks, img.shape[:2])),
    )
    heads = [model.taskname for model in app.models.values() if _is_lazy(model)]
    frame = LazyImageFaces(record, app.analyzer, heads, app.habits, app.renew)

    def embed(rows: Tensor) -> Faces:
        return frame.embedded(rows.tolist(), Images.from_bgr(img))

    metric = "max" if isinstance(metric, str) and metric == "max" else "default"
    rows = app.order.rows(record.faces, embed, limit or app.max_faces, metric, key)
    offered = list(range(len(boxes))) if rows is None else rows.tolist()
    frame.offer(offered)
    return ChosenFaces(frame, offered)


def _face(
    app: FaceAnalysis, img: np.ndarray, frame: LazyImageFaces, row: int, found: Found
) -> Face:
    box, kps = found[0][row], None if found[1] is None else found[1][row].copy()
    face = Face(bbox=box[:4].copy(), kps=kps, det_score=box[4])
    if app.embedding_refusal:
        face.refuse("embedding", app.embedding_refusal)
    face.explain(app.absent_fields)
    if LIVENESS in app.addons:
        app.addons[LIVENESS].get(img, face)
    not_live = is_not_live(face, app.addons, app.liveness_mode)
    for task, model in app.models.items():
        if task == "recognition" and not_live:
            face.explain({**app.absent_fields, "embedding": not_live})
        elif _is_lazy(model):
            face.expect(FACE_KEYS[model.taskname], frame, row)
        elif task != "detection":
            model.get(img, face)  # a model, method or session that the consumer put there
    return face


def _is_lazy(model: Any) -> bool:
    """Whether a model of `FaceAnalysis.models` may wait until its fields are read."""
    return isinstance(model, HeadModel) and "get" not in vars(model) and not model.has_own_network
