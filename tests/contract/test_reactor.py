"""ReActor: nine fields of a face as tensors on disk, and a face made of them again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face

FIELDS = (
    "bbox",
    "kps",
    "det_score",
    "landmark_3d_68",
    "pose",
    "landmark_2d_106",
    "embedding",
    "gender",
    "age",
)


def as_tensors(face: Any) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(face[name]) for name in FIELDS}


def test_all_nine_fields_are_there_with_upstreams_shapes(
    full_app: FaceAnalysis, full_upstream: Any, portrait: np.ndarray
):
    (mine,) = map(as_tensors, full_app.get(portrait))
    (theirs,) = map(as_tensors, full_upstream.get(portrait))
    for name in FIELDS:
        assert mine[name].shape == theirs[name].shape, name
        assert mine[name].dtype == theirs[name].dtype, name


def test_a_face_comes_back_from_its_tensors(full_app: FaceAnalysis, portrait: np.ndarray):
    (face,) = full_app.get(portrait)
    stored = as_tensors(face)
    back = Face({name: tensor.numpy() for name, tensor in stored.items()})
    assert set(back) == set(FIELDS) == set(face)
    assert np.array_equal(back.normed_embedding, face.normed_embedding)
    assert back.sex == face.sex
