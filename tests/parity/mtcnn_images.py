"""Photos and frames as MTCNN's users have them, and the library's answers to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.utils.faces import Faces
from tests.photos import read_bgr


def photos(images: Path) -> dict[str, np.ndarray]:
    """Every photo of a folder, `[H,W,3]` uint8 RGB."""
    return {path.name: read_bgr(path)[..., ::-1].copy() for path in images.glob("*.jpg")}


def frames(video: Path, every: int) -> np.ndarray:
    """Frames of a video, `[N,H,W,3]` uint8 RGB."""
    import cv2

    capture, kept = cv2.VideoCapture(str(video)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return np.stack(kept[::every])
        kept.append(frame[..., ::-1])


def library(parameters: MtcnnParameters | None = None) -> Any:
    """facenet-pytorch's own MTCNN."""
    from facenet_pytorch import MTCNN

    chosen: Any = parameters or MtcnnParameters()
    return MTCNN(
        keep_all=True,
        select_largest=False,
        min_face_size=chosen.min_face_size,
        thresholds=list(chosen.thresholds),
        factor=chosen.factor,
    ).eval()


def assert_same(got: Faces, mtcnn: Any, image: np.ndarray) -> int:
    """Faces of one image are those of `MTCNN.detect`: how many there are.

    Boxes of equal score, cut out at the same pixels, are less than one apart: which of them stays
    is left to chance in the library, whose sort is not stable. All others are the same but for the
    order of sums.
    """
    boxes, scores, points = mtcnn.detect(image, landmarks=True)
    count = 0 if boxes is None else len(boxes)
    assert len(got) == count and bool((got.scores.diff() <= 0).all())
    if count == 0:
        return 0
    expected = Faces(
        boxes=torch.from_numpy(np.asarray(boxes, dtype=np.float32)),
        scores=torch.from_numpy(np.asarray(scores, dtype=np.float32)),
        image_index=got.image_index,
        image_sizes=got.image_sizes,
        landmarks=torch.from_numpy(np.asarray(points, dtype=np.float32)),
    )
    # Scores that are equal but for the last bit may change places.
    order = torch.cdist(got.boxes, expected.boxes).argmin(1)
    assert len(order.unique()) == count
    for name in ("boxes", "landmarks"):
        distance = (getattr(got, name) - getattr(expected[order], name)).abs().flatten(1).amax(1)
        assert distance.max() < 1 and distance.median() < 0.01, name
    torch.testing.assert_close(got.scores, expected.scores[order], atol=1e-5, rtol=0)
    return count
