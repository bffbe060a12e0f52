"""`draw_on`: upstream's picture, pixel for pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastface.pipeline.insightface_compat.facade import FaceAnalysis


def test_no_faces_no_change(app: FaceAnalysis, crowd: np.ndarray):
    picture = app.draw_on(crowd, [])
    assert np.array_equal(picture, crowd) and picture is not crowd


def test_same_picture_as_upstream(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    before, faces = crowd.copy(), app.get(crowd)
    assert np.array_equal(app.draw_on(crowd, faces), upstream.draw_on(crowd, faces))
    assert np.array_equal(crowd, before)


def test_sex_and_age_are_written_where_there_are_any(
    app: FaceAnalysis, full_app: FaceAnalysis, full_upstream: Any, crowd: np.ndarray
):
    faces = full_app.get(crowd)
    picture = full_app.draw_on(crowd, faces)
    assert np.array_equal(picture, full_upstream.draw_on(crowd, faces))
    assert not np.array_equal(picture, full_app.draw_on(crowd, app.get(crowd)))


def test_upstreams_faces_can_be_drawn(
    full_app: FaceAnalysis, full_upstream: Any, crowd: np.ndarray
):
    faces = full_upstream.get(crowd)
    assert np.array_equal(full_app.draw_on(crowd, faces), full_upstream.draw_on(crowd, faces))
