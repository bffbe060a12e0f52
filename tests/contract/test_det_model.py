"""`det_model`: sizes that take effect, upstream's calls and answers, methods replaced by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from tests.contract.compare import assert_same_detections, assert_same_faces
from tests.contract.conftest import Counted


@pytest.mark.parametrize(
    "input_size", [None, (320, 320), (640, 384), (384, 640), [(128, 128), (640, 640)], (0, 0)]
)
def test_detects_as_upstream_at_any_size(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, input_size: Any
):
    mine, theirs = (each.det_model.detect(crowd, input_size=input_size) for each in (app, upstream))
    assert len(theirs[0]) > 0
    assert_same_detections(mine, theirs)
    assert app.det_model.input_size == (640, 640), "a size for one call is for one call"


@pytest.mark.parametrize("metric", ["default", "max"])
@pytest.mark.parametrize("max_num", [0, 1, 3, 99, -1])
def test_chooses_among_too_many_faces_as_upstream(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, max_num: int, metric: str
):
    mine, theirs = (
        each.det_model.detect(crowd, max_num=max_num, metric=metric) for each in (app, upstream)
    )
    assert_same_detections(mine, theirs)
    faces = app.get(crowd, max_num=max_num, det_metric=metric)
    assert np.array_equal([face.bbox for face in faces], mine[0][:, :4])


@pytest.mark.parametrize(
    ("attribute", "value", "matters"),
    [
        ("det_thresh", 0.1, True),
        ("det_thresh", 0.85, True),
        ("nms_thresh", 0.01, False),
        ("nms_thresh", 0.95, True),
    ],
)
def test_thresholds_can_be_set(
    app: FaceAnalysis, upstream: Any, crowd: np.ndarray, attribute: str, value: float, matters: bool
):
    before = app.det_model.detect(crowd)
    old = getattr(upstream.det_model, attribute)
    try:
        for each in (app, upstream):
            setattr(each.det_model, attribute, value)
        mine, theirs = (each.det_model.detect(crowd) for each in (app, upstream))
    finally:
        setattr(upstream.det_model, attribute, old)
    assert_same_detections(mine, theirs)
    assert matters == (len(mine[0]) != len(before[0]))


def test_threshold_of_one_call(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    mine, theirs = (each.det_model.detect(crowd, det_thresh=0.8) for each in (app, upstream))
    assert_same_detections(mine, theirs)
    assert app.det_model.det_thresh == 0.5


def test_no_face(app: FaceAnalysis, upstream: Any, landscape: np.ndarray):
    mine, theirs = (each.det_model.detect(landscape) for each in (app, upstream))
    assert mine[0].shape == (0, 5) and mine[1].shape == (0, 5, 2)
    assert_same_detections(mine, theirs)


@pytest.mark.parametrize("size", [(650, 650), (500, 333), (333, 500), (1, 1), (31, 640)])
def test_sizes_that_upstream_can_not_take(
    app: FaceAnalysis, crowd: np.ndarray, size: tuple[int, int]
):
    """Its anchors are counted in whole strides; here the canvas is padded to whole strides."""
    app.det_model.input_size = size
    assert app.det_model.input_size == size
    boxes, points = app.det_model.detect(crowd)
    assert len(boxes) == len(points) == (5 if min(size) > 300 else 0)


@pytest.mark.parametrize("size", [640, (640,), (-1, 640), (0, 640), "large", []])
def test_a_wrong_size_is_refused(app: FaceAnalysis, size: Any):
    with pytest.raises(InvalidInput, match="expected"):
        app.det_model.input_size = size
    assert app.det_model.input_size == (640, 640)


def test_no_size_is_two_sizes(app: FaceAnalysis):
    app.det_model.input_size = None
    assert app.det_model.input_sizes == ((128, 128), (640, 640))


def test_prepare_sets_what_is_given(app: FaceAnalysis):
    app.det_model.prepare(0, input_size=(320, 256), nms_thresh=0.3)
    assert app.det_model.input_size == app.det_size == (320, 256)
    assert (app.det_model.det_thresh, app.det_model.nms_thresh) == (0.5, 0.3)
    app.det_model.prepare(0, det_thresh=0.4)
    assert app.det_model.input_size == (320, 256) and app.det_thresh == 0.4


def test_a_replaced_detect_is_used(app: FaceAnalysis, crowd: np.ndarray):
    detect = app.det_model.detect

    def leftmost(img: np.ndarray, **choices: Any) -> tuple[np.ndarray, np.ndarray]:
        boxes, points = detect(img, **choices)
        first = boxes[:, 0].argsort()[:1]
        return boxes[first], points[first]

    expected = min(app.get(crowd), key=lambda face: face.bbox[0])
    app.det_model.detect = leftmost
    (face,) = app.get(crowd)
    assert np.array_equal(face.bbox, expected.bbox)
    assert np.allclose(face.embedding, expected.embedding, atol=1e-4)


def test_a_replaced_detector_is_used(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    app.det_model = app.models["detection"] = upstream.det_model
    app.prepare(ctx_id=0, det_size=(320, 320))
    assert upstream.det_model.input_size == (320, 320)
    assert_same_faces(app.get(crowd), upstream.get(crowd))


@pytest.mark.parametrize(
    "change",
    [
        lambda app: setattr(app.det_model, "input_size", (320, 320)),
        lambda app: setattr(app.det_model, "det_thresh", 0.6),
        lambda app: setattr(app.det_model, "nms_thresh", 0.2),
        lambda app: app.prepare(ctx_id=0, det_thresh=0.55, det_size=(640, 640)),
    ],
    ids=["input_size", "det_thresh", "nms_thresh", "prepare"],
)
def test_another_setting_is_another_question(
    counted: Counted, crowd: np.ndarray, change: Callable[[FaceAnalysis], None]
):
    counted.app.get(crowd)
    change(counted.app)
    counted.app.get(crowd)
    assert counted.totals() == {"detection": 2}
    counted.app.get(crowd)
    assert counted.totals() == {}


def test_a_limit_is_no_question_to_the_network(counted: Counted, crowd: np.ndarray):
    everybody = counted.app.get(crowd)
    counted.app.max_faces = 1
    (one,) = counted.app.get(crowd)
    counted.app.max_faces = 0
    assert len(counted.app.get(crowd, max_num=2)) == 2
    assert len(counted.app.get(crowd)) == len(everybody) > 2
    assert counted.totals() == {"detection": 1}
    assert one.bbox.tolist() in [face.bbox.tolist() for face in everybody]
