"""PuLID and its Flux descendants: fields as attributes, a 512 pixel alignment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.contract.compare import assert_same_identity


def largest_face(face_analysis: Any, picture: np.ndarray) -> Any:
    for side in range(640, 256, -64):
        face_analysis.det_model.input_size = (side, side)
        faces = face_analysis.get(picture)
        if faces:
            return sorted(faces, key=lambda x: (x.bbox[2] - x.bbox[0]) * (x.bbox[3] - x.bbox[1]))[
                -1
            ]
    return None


def test_same_embedding_as_upstream(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    mine, theirs = (largest_face(each, crowd) for each in (app, upstream))
    embedding = torch.from_numpy(mine.embedding).unsqueeze(0).to("cpu", dtype=torch.bfloat16)
    assert embedding.shape == (1, len(theirs.embedding))
    assert_same_identity(mine.embedding, theirs.embedding)


def test_same_box_in_whole_pixels_as_upstream(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    mine, theirs = (largest_face(each, crowd) for each in (app, upstream))
    assert all(hasattr(mine, field) for field in ("bbox", "kps", "embedding"))
    assert np.abs(mine.bbox.astype(int) - theirs.bbox.astype(int)).max() <= 1
    left, top, right, bottom = mine.bbox.astype(int)
    assert crowd[top:bottom, left:right].size > 0


def test_same_alignment_as_upstream(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    from insightface.utils import face_align

    mine, theirs = (
        face_align.estimate_norm(largest_face(each, crowd).kps, image_size=512)
        for each in (app, upstream)
    )
    corners = np.array([[0, 0, 1], [512, 0, 1], [0, 512, 1]]).T
    assert mine.shape == (2, 3)
    assert np.abs((mine - theirs) @ corners).max() < 5 * 0.5  # a crop pixel is a fifth of a pixel
