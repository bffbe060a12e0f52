"""LivePortraitKJ: its own `get` over the detector and every other model of `models`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face as OurFace
from tests.contract.compare import assert_same_faces


def analyse(
    insightface: Any, picture: np.ndarray, face_class: Any, max_num: int = 0, dense: bool = True
) -> list:
    """Faces from large to small, each model asked in turn."""
    boxes, points = insightface.det_model.detect(picture, max_num=max_num, metric="default")
    faces = []
    for i in range(boxes.shape[0]):
        face = face_class(bbox=boxes[i, 0:4], kps=points[i], det_score=boxes[i, 4])
        for taskname, model in insightface.models.items():
            if taskname == "detection" or (not dense and taskname == "landmark_2d_106"):
                continue
            model.get(picture, face)
        faces.append(face)
    return sorted(
        faces,
        key=lambda face: (face["bbox"][2] - face["bbox"][0]) * (face["bbox"][3] - face["bbox"][1]),
        reverse=True,
    )


@pytest.mark.parametrize("max_num", [0, 2])
@pytest.mark.parametrize("whose", ["upstream's", "ours"])
def test_same_faces_as_upstream(
    full_app: FaceAnalysis, full_upstream: Any, crowd: np.ndarray, whose: str, max_num: int
):
    from insightface.app.common import Face as TheirFace

    mine = analyse(full_app, crowd, OurFace if whose == "ours" else TheirFace, max_num)
    theirs = analyse(full_upstream, crowd, TheirFace, max_num)
    assert_same_faces(mine, theirs)
    for ours, reference in zip(mine, theirs, strict=True):
        assert np.abs(ours.landmark_2d_106 - reference.landmark_2d_106).max() < 0.05
        assert set(ours) == set(reference)


def test_a_model_that_is_passed_over_says_nothing(full_app: FaceAnalysis, portrait: np.ndarray):
    (face,) = analyse(full_app, portrait, OurFace, dense=False)
    assert "landmark_2d_106" not in face and face.landmark_2d_106 is None
    assert face.landmark_3d_68.shape == (68, 3)
