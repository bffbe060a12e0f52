"""`prepare`: as often as one likes, the last call counts (InfiniteYou, comfy_mtb)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from tests.contract.compare import assert_same_faces


def test_unprepared_it_works_with_what_the_loader_said(
    load: Callable[..., FaceAnalysis], upstream: Any, crowd: np.ndarray
):
    assert_same_faces(load().get(crowd), upstream.get(crowd))
    assert load(det_size=320).det_size == (320, 320)


def test_infiniteyou_three_names_for_one_object(
    app: FaceAnalysis, upstream: Any, close_up: np.ndarray
):
    for insightface in (app, upstream):
        app_640 = insightface
        app_640.prepare(ctx_id=0, det_size=(640, 640))
        app_320 = insightface
        app_320.prepare(ctx_id=0, det_size=(320, 320))
    assert app.det_size == upstream.det_size == (320, 320)
    theirs = app_640.get(close_up)
    assert len(theirs) == 1
    assert_same_faces(app.get(close_up), theirs)
    app.prepare(ctx_id=0, det_size=(640, 640))
    assert app.get(close_up) == []


def test_comfy_mtb_halves_the_size_until_there_is_a_face(
    app: FaceAnalysis, upstream: Any, close_up: np.ndarray
):
    def leftmost(face_analyser: Any, det_size: tuple[int, int] = (640, 640)) -> Any:
        face_analyser.prepare(ctx_id=0, det_size=det_size)
        face = face_analyser.get(close_up)
        if len(face) == 0 and det_size[0] > 320 and det_size[1] > 320:
            return leftmost(face_analyser, (det_size[0] // 2, det_size[1] // 2))
        return sorted(face, key=lambda x: x.bbox[0])[0]

    assert_same_faces([leftmost(app)], [leftmost(upstream)])


@pytest.mark.parametrize("det_size", [None, (0, 0), [(128, 128), (640, 640)]])
def test_no_size_means_two_merged_as_upstream(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, close_up: np.ndarray, det_size: Any
):
    for insightface in (app, upstream):
        insightface.prepare(ctx_id=0, det_size=det_size)
    for picture in (crowd, close_up):
        assert_same_faces(app.get(picture), upstream.get(picture))
    assert app.det_size == [(128, 128), (640, 640)]
    assert app.det_model.input_size == upstream.det_model.input_size == (640, 640)


def test_a_size_need_not_be_given(app: FaceAnalysis):
    app.prepare(ctx_id=0)
    assert app.det_model.input_sizes == ((128, 128), (640, 640)) and app.det_thresh == 0.5


@pytest.mark.parametrize("det_thresh", [0.3, 0.7, 0.85, 1.0])
def test_threshold(app: FaceAnalysis, upstream: Any, crowd: np.ndarray, det_thresh: float):
    for insightface in (app, upstream):
        insightface.prepare(ctx_id=0, det_thresh=det_thresh, det_size=(640, 640))
    assert app.det_thresh == upstream.det_thresh == det_thresh
    assert_same_faces(app.get(crowd), upstream.get(crowd))


def test_the_cpu_can_be_asked_for(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    for insightface in (app, upstream):
        insightface.prepare(ctx_id=-1, det_size=(640, 640))
    assert_same_faces(app.get(crowd), upstream.get(crowd))
    assert app.models["recognition"].session.get_providers() == ["CPUExecutionProvider"]


def test_models_that_a_consumer_put_there_are_prepared_too(app: FaceAnalysis):
    class Blur:
        taskname = "blur"

        def prepare(self, ctx_id: int, **kwargs: Any) -> None:
            self.prepared_for = ctx_id

    app.models["blur"] = Blur()
    app.prepare(ctx_id=3, det_size=(320, 320))
    assert app.models["blur"].prepared_for == 3


def test_a_wrong_size_is_refused_and_changes_nothing(app: FaceAnalysis):
    with pytest.raises(InvalidInput, match="640"):
        app.prepare(ctx_id=0, det_thresh=0.9, det_size=640)
    assert app.det_size == (640, 640) and app.det_thresh == 0.5
