"""IPAdapter FaceID: the first face of the list, its normalised embedding, a crop by its points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.contract.compare import assert_same_identity


def face_id(insightface: Any, picture: np.ndarray, field: str, crop_side: int) -> Any:
    """Embedding `[1,D]` and aligned crop of the first face, or None."""
    from insightface.utils import face_align

    insightface.det_model.input_size = (640, 640)
    for side in range(640, 256, -64):
        insightface.det_model.input_size = (side, side)
        face = insightface.get(picture)
        if face:
            embedding = torch.from_numpy(getattr(face[0], field)).unsqueeze(0)
            crop = face_align.norm_crop(picture, landmark=face[0].kps, image_size=crop_side)
            return embedding, crop
    return None


@pytest.mark.parametrize(
    ("field", "crop_side"),
    [("normed_embedding", 224), ("normed_embedding", 256), ("embedding", 336)],
    ids=["sd15", "sdxl", "kolors_unnormed"],
)
def test_same_embedding_and_crop_as_upstream(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, field: str, crop_side: int
):
    mine, my_crop = face_id(app, crowd, field, crop_side)
    theirs, their_crop = face_id(upstream, crowd, field, crop_side)
    assert mine.shape == theirs.shape
    assert_same_identity(mine.numpy(), theirs.numpy())
    assert my_crop.shape == their_crop.shape == (crop_side, crop_side, 3)
    # Landmarks agree to a fraction of a pixel, so of the crop only edges may differ a little.
    assert np.abs(my_crop.astype(int) - their_crop).mean() < 1.0


def test_the_first_face_has_the_best_score_and_need_not_be_the_largest(
    app: FaceAnalysis, crowd: np.ndarray
):
    faces = app.get(crowd)
    scores = [face.det_score for face in faces]
    areas = [(f.bbox[2] - f.bbox[0]) * (f.bbox[3] - f.bbox[1]) for f in faces]
    assert scores == sorted(scores, reverse=True)
    assert np.argmax(areas) != 0


def test_normed_embedding_has_length_one_and_embedding_has_not(
    app: FaceAnalysis, portrait: np.ndarray
):
    (face,) = app.get(portrait)
    assert abs(np.linalg.norm(face.normed_embedding) - 1) < 1e-6
    assert face.embedding_norm == np.linalg.norm(face.embedding) > 2


def test_without_a_face_there_is_an_empty_list(app: FaceAnalysis, landscape: np.ndarray):
    assert app.get(landscape) == []
    assert face_id(app, landscape, "normed_embedding", 224) is None
