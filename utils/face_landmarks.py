"""ComfyUI's FACE_LANDMARKS, which its MediaPipe nodes pass between them, and boxes of it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from .box_formats import Corners
from .errors import InvalidInput
from .faces import Faces

Edges = frozenset[tuple[int, int]]


def _line(*points: Iterable[int]) -> Edges:
    return frozenset(edge for some in points for edge in pairwise(some))


def _ring(*points: int) -> Edges:
    return frozenset(pairwise((*points, points[0])))


#: What MediaPipe calls the parts of a face, of the 68 landmarks: its left eye is the person's own.
#: Source: iBUG's 68 points, with the outline closed along the eyebrows.
_PARTS_OF_68: dict[str, Edges] = {
    "face_oval": _ring(*range(17), *range(26, 16, -1)),
    "left_eye": _ring(*range(42, 48)),
    "right_eye": _ring(*range(36, 42)),
    "left_eyebrow": _line(range(22, 27)),
    "right_eyebrow": _line(range(17, 22)),
    "lips": _ring(*range(48, 60)) | _ring(*range(60, 68)),
    "irises": frozenset(),
    "nose": _line(range(27, 31), range(31, 36), (30, 33)),
}
#: Of the five landmarks only the mouth has two points.
_PARTS_OF_5: dict[str, Edges] = dict.fromkeys(_PARTS_OF_68, frozenset()) | {"lips": _line((3, 4))}
_CONTOURS = ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips")


def face_landmarks(faces: Faces) -> dict[str, Any]:
    """FACE_LANDMARKS of faces: their 68 landmarks where they are known, else their five.

    ComfyUI's mesh and mask nodes take it. Unlike MediaPipe's own there are no blend shapes and no
    transformation matrix.

    Args:
        faces: Of images of one size.

    Returns:
        `frames`, a list of faces for each image, in their order: `bbox_xyxy` `[4]`,
        `landmarks_xy` `[K,2]` and `landmarks_3d` `[K,3]` float32 in pixels, `presence`, `score`,
        `blendshapes`; `image_size`, height and width; `connection_sets`, landmarks that are joined.

    Source:
        ComfyUI 0.33, `comfy_extras/nodes_mediapipe.py`.
    """
    faces = faces.to("cpu")
    parts, points = dict.fromkeys(_PARTS_OF_68, Edges()), np.zeros((len(faces), 0, 3), np.float32)
    if faces.landmarks_68 is not None:
        parts, points = _PARTS_OF_68, faces.landmarks_68.numpy()
    elif faces.landmarks is not None:
        flat = faces.landmarks.numpy()
        parts, points = _PARTS_OF_5, np.concatenate((flat, np.zeros_like(flat[..., :1])), 2)
    frames: list[list[dict[str, Any]]] = [[] for _ in faces.image_sizes]
    boxes, scores = faces.boxes.numpy(), faces.scores.tolist()
    for row, image in enumerate(faces.images_of_faces()):
        frames[image].append(
            {
                "bbox_xyxy": boxes[row].copy(),
                "blendshapes": {},
                "landmarks_xy": points[row, :, :2].copy(),
                "landmarks_3d": points[row].copy(),
                "presence": scores[row],
                "score": scores[row],
            }
        )
    contours = frozenset[tuple[int, int]]().union(*(parts[name] for name in _CONTOURS))
    everything = contours | parts["irises"] | parts["nose"]
    return {
        "frames": frames,
        "image_size": next(iter(faces.image_sizes), (0, 0)),
        "connection_sets": parts
        | {"contours": contours, "all": everything, "tesselation": everything},
    }


def frames_of_landmarks(value: Any) -> list[list[Corners]]:
    """The boxes of FACE_LANDMARKS, a list for each image.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(value, dict):
        raise _no_landmarks(value)
    try:
        frames = [
            [tuple(float(side) for side in face["bbox_xyxy"]) for face in frame]
            for frame in value["frames"]
        ]
    except (LookupError, TypeError, ValueError, OverflowError, RuntimeError):
        raise _no_landmarks(value) from None
    if not all(len(box) == 4 and np.isfinite(box).all() for frame in frames for box in frame):
        raise _no_landmarks(value)
    return [[(box[0], box[1], box[2], box[3]) for box in frame] for frame in frames]


def _no_landmarks(value: Any) -> InvalidInput:
    return InvalidInput(
        f"got {reprlib.repr(value)}, expected face landmarks with frames of faces that have a "
        "bbox_xyxy; connect ComfyUI's face landmark detector"
    )
