"""The object that cubiq's ComfyUI_FaceAnalysis passes between its nodes, over a `FaceAnalysis`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from .facade import FaceAnalysis

#: Distances below which two faces are one person's, as ComfyUI_FaceAnalysis has them for ArcFace.
THRESHOLDS = {"cosine": 0.68, "euclidean": 4.15, "L2_norm": 1.13}

#: Rows of the 106 landmarks, by part of the face.
_OUTLINE = [*range(33), *range(48, 51), *range(102, 105)]
_PARTS = (
    slice(None),  # all
    slice(33, None),  # the main features
    [*range(33, 43), *range(87, 97)],  # both eyes
    slice(87, 97),  # left eye
    slice(33, 43),  # right eye
    slice(72, 87),  # nose
    slice(52, 72),  # mouth
    slice(97, 106),  # left eyebrow
    slice(43, 52),  # right eyebrow
    _OUTLINE,
    _OUTLINE,  # the outline with forehead, which 106 points don't have
)


class AnalysisModels:
    """Finds and describes the faces of one RGB image for ComfyUI_FaceAnalysis' nodes.

    Images are RGB, as these nodes give them: `[H,W,3]` uint8 or pictures of Pillow. The library
    itself hands them to InsightFace, which takes them for BGR; here they are turned first, so that
    embeddings are those of the face.

    Source:
        cubiq/ComfyUI_FaceAnalysis, `faceanalysis.py`, class `InsightFace`.
    """

    def __init__(self, face_analysis: FaceAnalysis) -> None:
        self.face_analysis = face_analysis
        self.thresholds = dict(THRESHOLDS)

    def get_face(self, image: np.ndarray | Image) -> list[Any] | None:
        """The faces of an image, the largest first; None without."""
        rgb = np.asarray(image)
        faces = self.face_analysis.get(np.ascontiguousarray(rgb[..., ::-1]))
        return sorted(faces, key=_area, reverse=True) or None

    def get_embeds(self, image: np.ndarray | Image) -> np.ndarray | None:
        """The embedding `[D]` float32 of the largest face, of length 1; None without a face."""
        faces = self.get_face(image)
        return None if faces is None else faces[0].normed_embedding

    def get_bbox(
        self, image: Image, padding: int = 0, padding_percent: float = 0
    ) -> tuple[list[Tensor], list[int], list[int], list[int], list[int]]:
        """Crops `[1,h,w,3]` float32 0..1 of all faces, and left, top, width, height of each.

        Args:
            image: The picture.
            padding: Added at each side, in pixels.
            padding_percent: Added at each side, as a share of the box's side.
        """
        pixels = torch.from_numpy(np.array(image)).float() / 255
        crops: list[Tensor] = []
        places: list[tuple[int, int, int, int]] = []
        for face in self.get_face(image) or []:
            left, top, right, bottom = (float(value) for value in face.bbox)
            across = int((right - left) * padding_percent) + padding
            down = int((bottom - top) * padding_percent) + padding
            x0, y0 = int(max(0, left - across)), int(max(0, top - down))
            x1 = int(min(pixels.shape[1], right + across))
            y1 = int(min(pixels.shape[0], bottom + down))
            if x0 < x1 and y0 < y1:
                crops.append(pixels[None, y0:y1, x0:x1])
                places.append((x0, y0, x1 - x0, y1 - y0))
        x, y, width, height = (
            (list(column) for column in zip(*places, strict=True))
            if places
            else (
                [],
                [],
                [],
                [],
            )
        )
        return crops, x, y, width, height

    def get_keypoints(self, image: np.ndarray | Image) -> list[np.ndarray] | None:
        """Five points x, y in pixels of the largest face; None without a face.

        In the order of ComfyUI_FaceAnalysis: it calls InsightFace's first eye the right one and
        puts the second first.
        """
        faces = self.get_face(image)
        if faces is None:
            return None
        first_eye, second_eye, nose, left_mouth, right_mouth = faces[0].kps
        return [second_eye, first_eye, nose, left_mouth, right_mouth]

    def get_landmarks(
        self, image: np.ndarray | Image, extended_landmarks: bool = False
    ) -> list[np.ndarray] | None:
        """Groups of landmarks `[N,2]` int64 x, y in pixels of the largest face; None without.

        All, the main features, eyes, left eye, right eye, nose, mouth, left eyebrow, right eyebrow,
        outline, outline with forehead.
        """
        faces = self.get_face(image)
        if faces is None:
            return None
        landmarks = np.round(faces[0]["landmark_2d_106"]).astype(np.int64)
        return [landmarks[rows] for rows in _PARTS]


def _area(face: Any) -> float:
    left, top, right, bottom = face.bbox
    return float((right - left) * (bottom - top))
