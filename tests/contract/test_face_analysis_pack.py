"""What cubiq's ComfyUI_FaceAnalysis does with its own InsightFace object, done with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastface.pipeline.insightface_compat.analysis_models import AnalysisModels
from fastface.pipeline.insightface_compat.facade import FaceAnalysis


@pytest.fixture
def models(app: FaceAnalysis) -> AnalysisModels:
    return AnalysisModels(app)


def test_the_largest_face_and_its_embedding(
    models: AnalysisModels, upstream: Any, photo: Callable[[str], np.ndarray]
):
    bgr = photo("multiface.jpg")
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    area = lambda face: np.prod(face["bbox"][2:4] - face["bbox"][:2])  # noqa: E731
    theirs = sorted(upstream.get(bgr), key=area, reverse=True)
    ours = models.get_face(rgb)
    assert ours is not None and len(ours) == len(theirs) == 6
    for mine, other in zip(ours, theirs, strict=True):
        assert np.abs(mine.bbox - other.bbox).max() < 0.5
    embedding = models.get_embeds(rgb)
    assert embedding is not None and embedding @ theirs[0].normed_embedding > 0.9999
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_crops_lie_where_they_are_said_to(
    models: AnalysisModels, photo: Callable[[str], np.ndarray]
):
    rgb = np.ascontiguousarray(photo("multiface.jpg")[..., ::-1])
    plain = models.get_bbox(Image.fromarray(rgb))
    padded = models.get_bbox(Image.fromarray(rgb), padding=5, padding_percent=0.1)
    assert all(len(column) == 6 for column in (*plain, *padded))
    for crop, x, y, width, height in zip(*padded, strict=True):
        assert crop.shape == (1, height, width, 3)
        inside = rgb[y : y + height, x : x + width]
        assert np.array_equal((crop[0].numpy() * 255).round().astype(np.uint8), inside)
    assert all(wide > narrow for wide, narrow in zip(padded[3], plain[3], strict=True))


def test_points_are_in_its_order(models: AnalysisModels, portrait: np.ndarray):
    rgb = np.ascontiguousarray(portrait[..., ::-1])
    keypoints = models.get_keypoints(rgb)
    (face,) = models.get_face(rgb) or []
    assert keypoints is not None and len(keypoints) == 5
    assert np.array_equal(keypoints[0], face.kps[1]) and np.array_equal(keypoints[1], face.kps[0])
    assert keypoints[0][0] > keypoints[1][0]


def test_groups_of_landmarks(full_app: FaceAnalysis, portrait: np.ndarray):
    rgb = np.ascontiguousarray(portrait[..., ::-1])
    groups = AnalysisModels(full_app).get_landmarks(rgb, extended_landmarks=True)
    (face,) = full_app.get(portrait)
    assert groups is not None
    assert [len(group) for group in groups] == [106, 73, 20, 10, 10, 15, 20, 9, 9, 39, 39]
    assert np.array_equal(groups[0], np.round(face.landmark_2d_106).astype(np.int64))
    assert np.array_equal(groups[4], groups[0][33:43])


def test_no_face(models: AnalysisModels, landscape: np.ndarray):
    assert models.get_face(landscape) is None and models.get_embeds(landscape) is None
    assert models.get_keypoints(landscape) is None and models.get_landmarks(landscape) is None
    assert models.get_bbox(Image.fromarray(landscape)) == ([], [], [], [], [])
    assert set(models.thresholds) == {"cosine", "euclidean", "L2_norm"}
