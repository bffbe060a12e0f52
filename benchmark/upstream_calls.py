"""What users of InsightFace's `FaceAnalysis` call, on its object and on ours alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..utils.insightface_fields import FACE_KEYS
from ..utils.parity import Found, found
from .workloads import ALL_FIELDS

_LARGEST_SIDE, _SMALLEST_SIDE, _STEP = 640, 192, 64


def fields_of(app: Any) -> tuple[str, ...]:
    """Those of `ALL_FIELDS` that the models of an object fill in."""
    there = {name for task in app.models for name in FACE_KEYS.get(task, ())}
    return tuple(name for name in ALL_FIELDS if name in there)


def read_fields(app: Any, bgr: np.ndarray, fields: Sequence[str]) -> list[list[Any]]:
    """Analyses an image and reads fields of every face."""
    return [[face[name] for name in fields] for face in app.get(bgr)]


def instantid(app: Any, bgr: np.ndarray) -> list[np.ndarray]:
    """What InstantID's Apply node does with one image: embedding, then keypoints.

    Source:
        cubiq/ComfyUI_InstantID, `InstantID.py: extractFeatures`.
    """
    results = []
    for wanted in ("embedding", "kps"):
        for side in range(_LARGEST_SIDE, _SMALLEST_SIDE - 1, -_STEP):
            app.det_model.input_size = (side, side)
            faces = app.get(bgr)
            if faces:
                sides = [face["bbox"][2:] - face["bbox"][:2] for face in faces]
                largest = max(range(len(faces)), key=lambda row: float(np.prod(sides[row])))
                results.append(faces[largest][wanted])
                break
    return results


def single_image_call(app: Any, job: str, image: Callable[[], np.ndarray]) -> Callable[[], Any]:
    """The call of a job that takes one image.

    Args:
        app: Prepared.
        job: `get`, `get_all` or `instantid`.
        image: Gives the image `[H,W,3]` uint8 BGR; its work belongs to the call.
    """
    if job == "instantid":
        return lambda: instantid(app, image())
    fields = fields_of(app) if job == "get_all" else ("embedding",)
    return lambda: read_fields(app, image(), fields)


def found_of(faces: Sequence[Any], embed: bool) -> Found:
    """`Found` of the faces that `get` gave for one image."""
    landmarks = [face.kps for face in faces]
    return found(
        np.array([face.bbox for face in faces]),
        np.array([face.det_score for face in faces]),
        None if any(points is None for points in landmarks) else np.array(landmarks),
        np.array([face.embedding for face in faces]) if embed else None,
    )
