"""Photos of one face laid into images: at every size, turned at every angle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

#: Side in pixels of the images that faces are laid into.
SIDE = 640
#: Finds the faces of an image `[H,W,3]` BGR, best score first.
Find = Callable[[np.ndarray], list[Any]]


@dataclass(frozen=True)
class Portrait:
    """A picture `[H,W,3]` BGR with one face, and what `auto` says of that face."""

    name: str
    picture: np.ndarray
    face: Any


@dataclass(frozen=True)
class Cell:
    """A face laid into an image: its true box and landmarks."""

    image: np.ndarray
    box: np.ndarray
    kps: np.ndarray

    @property
    def is_whole(self) -> bool:
        """Whether no part of the face lies outside the image."""
        return bool((self.box >= 0).all() and (self.box <= SIDE).all())

    def is_found_by(self, face: Any) -> bool:
        low = np.maximum(self.box[:2], face.bbox[:2])
        shared = np.prod(np.clip(np.minimum(self.box[2:], face.bbox[2:]) - low, 0, None))
        either = area(self.box) + area(face.bbox) - shared
        off = (roll_deg(face.kps) - roll_deg(self.kps) + 180) % 360 - 180
        return bool(shared > 0.4 * either and abs(off) < 45)


def area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def roll_deg(kps: np.ndarray) -> float:
    """From the eyes to the mouth: 0 is upright."""
    down = kps[3:].mean(0) - kps[:2].mean(0)
    return float(np.degrees(np.arctan2(-down[0], down[1])))


def portrait(path: Path, find: Find) -> Portrait:
    image = read_image(path)
    faces = find(image)
    if not faces:
        sys.exit(f"{path}: no face is found in it; give photos of upright faces")
    left, top, right, bottom = faces[0].bbox
    height, width = image.shape[:2]
    around = 2.0 * (bottom - top)
    while True:
        x, y = max(0, int(left - around)), max(0, int(top - around))
        end_x, end_y = min(width, int(right + around)), min(height, int(bottom + around))
        if around <= 0 or not any(meets(face.bbox, (x, y, end_x, end_y)) for face in faces[1:]):
            break
        around -= 2
    picture = image[y:end_y, x:end_x].copy()
    alone = find(picture)
    if len(alone) != 1:
        sys.exit(f"{path}: no piece with one face alone; give photos of single faces")
    return Portrait(path.stem, picture, alone[0])


def meets(box: Sequence[float], other: Sequence[float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def laid_out(subject: Portrait, zoom: float, angle: int) -> Cell:
    """The face in the middle, at `zoom` of the height, turned; the mean colour around the photo."""
    box, image = subject.face.bbox, subject.picture
    size = box[2:] - box[:2]
    scale = zoom * SIDE / size[1]
    colour = image.mean((0, 1)).tolist()
    matrix = cv2.getRotationMatrix2D(((box[:2] + box[2:]) / 2).tolist(), angle, scale)
    matrix[:, 2] += SIDE / 2 - (box[:2] + box[2:]) / 2
    kps = (subject.face.kps @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    if scale < 1:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array(image.shape[1::-1]) / small.shape[1::-1]
        matrix[:, 2] += matrix[:, :2] @ ((ratio - 1) / 2)
        matrix[:, :2] *= ratio
        image = small
    laid = cv2.warpAffine(image, matrix, (SIDE, SIDE), borderValue=colour)
    turned = {0: size, 90: size[::-1]}.get(angle % 180, np.full(2, size.mean())) * scale / 2
    return Cell(laid, np.concatenate((SIDE / 2 - turned, SIDE / 2 + turned)), kps)


def read_image(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        sys.exit(f"{path} is no image that can be read")
    return image
