"""A face that fills the picture is found at a smaller size, where upstream never looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.contract.compare import assert_same_faces


def first_size_with_a_face(insightface: Any, picture: np.ndarray, last: int) -> int | None:
    """InstantID goes down to 192 pixels, IPAdapter and PuLID to 320."""
    for side in range(640, last - 1, -64):
        insightface.det_model.input_size = (side, side)
        if insightface.get(picture):
            return side
    return None


@pytest.mark.parametrize("last", [192, 320])
def test_finds_the_close_up_that_upstream_misses(
    app: FaceAnalysis, upstream: Any, close_up: np.ndarray, last: int
):
    assert first_size_with_a_face(app, close_up, last) == 320
    assert first_size_with_a_face(upstream, close_up, last) is None


def test_finds_what_upstream_finds_when_prepared_for_it(
    app: FaceAnalysis, upstream: Any, close_up: np.ndarray
):
    side = first_size_with_a_face(app, close_up, 192)
    upstream.prepare(ctx_id=0, det_size=(side, side))
    theirs = upstream.get(close_up)
    assert len(theirs) == 1
    assert_same_faces(app.get(close_up), theirs)


def test_the_face_is_the_one_of_the_whole_picture(
    app: FaceAnalysis, portrait: np.ndarray, close_up: np.ndarray
):
    (whole,) = app.get(portrait)
    first_size_with_a_face(app, close_up, 192)
    (close,) = app.get(close_up)
    offset = np.mean(whole.kps - close.kps, axis=0)
    assert np.abs(whole.kps - close.kps - offset).max() < 0.05 * len(close_up)
    assert whole.normed_embedding @ close.normed_embedding > 0.8
