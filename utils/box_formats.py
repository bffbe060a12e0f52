"""Boxes of faces in the forms that other nodes take."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

from .errors import InvalidInput
from .faces import Faces

#: What the four numbers of a BBOX are: left, top, and then the size or the far corner.
BBOX_FORMATS = ("xywh", "xyxy")


class BoundingBox(TypedDict):
    """One box as ComfyUI's own nodes take it; `x`, `y`, `width` and `height` in pixels."""

    x: int
    y: int
    width: int
    height: int
    label: str
    score: float


class Box(NamedTuple):
    """One box as mtb's nodes take it, in pixels."""

    x: int
    y: int
    width: int
    height: int


def single_boxes(faces: Faces) -> list[Box]:
    """A box for each face, for nodes whose BBOX is one box and no list.

    Args:
        faces: Their boxes are rounded, and clamped to their images.

    Source:
        melMass/comfy_mtb, `nodes/crop.py`, `BoundingBox`.
    """
    return [Box(*box) for box in whole_pixel_boxes(faces, "xywh")]


def bounding_boxes(faces: Faces, label: str = "face") -> list[list[BoundingBox]]:
    """ComfyUI's BOUNDING_BOX: for each image a list of its boxes, in the faces' order.

    Args:
        faces: Boxes are rounded to whole pixels and cut off at the borders of their images.
        label: What each box is of.

    Source:
        ComfyUI 0.33, `comfy_api/latest/_io.py` and `comfy_extras/nodes_mediapipe.py`.
    """
    frames: list[list[BoundingBox]] = [[] for _ in faces.image_sizes]
    rows = zip(faces.images_of_faces(), faces.boxes.tolist(), faces.scores.tolist(), strict=True)
    for image, box, score in rows:
        left, top, right, bottom = clamped_box(box, faces.image_sizes[image])
        frames[image].append(
            {
                "x": left,
                "y": top,
                "width": right - left,
                "height": bottom - top,
                "label": label,
                "score": round(score, 4),
            }
        )
    return frames


#: Left, top, right, bottom in pixels.
Corners = tuple[float, float, float, float]


def frames_of_boxes(value: Any) -> list[list[Corners]]:
    """The boxes of a BOUNDING_BOX as ComfyUI's own nodes give and take it.

    Args:
        value: One box, a list of them, or a list for each image: dicts with `x`, `y`, `width` and
            `height` in pixels. What else they hold is left aside.

    Returns:
        A list for each image; one alone where the boxes are not told apart by image.

    Raises:
        InvalidInput: It is none of these.

    Source:
        ComfyUI 0.33, `comfy_extras/nodes_sam3.py` and `nodes_rtdetr.py`, which take all three.
    """
    if isinstance(value, dict):
        return [[_corners(value)]]
    if not isinstance(value, (list, tuple)):
        raise _no_boxes(value)
    if any(isinstance(each, dict) for each in value):
        return [[_corners(each) for each in value]]
    frames: list[list[Corners]] = []
    for frame in value:
        if not isinstance(frame, (list, tuple)):
            raise _no_boxes(frame)
        frames.append([_corners(each) for each in frame])
    return frames


def _corners(box: Any) -> Corners:
    try:
        left, top, width, height = (float(box[name]) for name in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError):
        raise _no_boxes(box) from None
    if not all(map(math.isfinite, (left, top, width, height))):
        raise _no_boxes(box)
    return left, top, left + width, top + height


def _no_boxes(value: Any) -> InvalidInput:
    return InvalidInput(
        f"got {reprlib.repr(value)} among bounding boxes, expected boxes with x, y, width and "
        "height in pixels, a list of them for each image; connect the bounding boxes of a detector"
    )


def for_images(frames: Sequence[Sequence[Corners]], count: int) -> list[tuple[int, Corners]]:
    """Boxes with the image of each; those of one frame alone are for all images.

    Raises:
        InvalidInput: They are of another number of images.
    """
    if len(frames) == 1:
        frames = list(frames) * count
    if len(frames) != count and any(frames):
        raise InvalidInput(
            f"got boxes of {len(frames)} images, but {count} images; connect the images in which "
            "the boxes were found"
        )
    return [(image, box) for image, frame in enumerate(frames) for box in frame]


def whole_pixel_boxes(faces: Faces, bbox_format: str) -> list[tuple[int, int, int, int]]:
    """Boxes in the form most nodes with a BBOX socket take: a flat list of tuples of int.

    Args:
        faces: Their boxes are rounded, and clamped to their images.
        bbox_format: One of `BBOX_FORMATS`.
    """
    boxes = []
    for image, box in zip(faces.images_of_faces(), faces.boxes.tolist(), strict=True):
        left, top, right, bottom = clamped_box(box, faces.image_sizes[image])
        corner = (right, bottom) if bbox_format == "xyxy" else (right - left, bottom - top)
        boxes.append((left, top, *corner))
    return boxes


def clamped_box(box: list[float], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box xyxy in whole pixels that lies in an image of this height and width."""
    left, right = (min(max(round(x), 0), size_hw[1]) for x in box[::2])
    top, bottom = (min(max(round(y), 0), size_hw[0]) for y in box[1::2])
    return left, top, right, bottom
