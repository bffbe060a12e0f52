"""Every loader call has an object of its own, over models that are loaded once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.images import Images

Load = Callable[..., FaceAnalysis]


def test_models_are_shared_and_settings_are_not(load: Load, close_up: np.ndarray):
    first, second = load(), load(det_threshold=0.6, max_faces=2)
    assert first is not second and first.analyzer is second.analyzer
    assert first.models is not second.models and first.det_model is not second.det_model
    first.prepare(ctx_id=0, det_thresh=0.4, det_size=(320, 320))
    first.det_model.nms_thresh = 0.9
    del first.models["recognition"]
    assert (second.det_thresh, second.det_size) == (0.6, (640, 640))
    assert second.det_model.nms_thresh == 0.4 and "recognition" in second.models
    assert len(first.get(close_up)) == 1 and second.get(close_up) == []
    third = load()
    assert (third.det_thresh, third.det_size, third.max_faces) == (0.5, (640, 640), 0)


def test_networks_are_the_same_objects_and_sessions_are_each_ones_own(load: Load):
    first, second = load(), load()
    for task in first.models:
        assert first.models[task].session.raw is second.models[task].session.raw
        assert first.models[task].session is first.models[task].session
        assert first.models[task].session is not second.models[task].session


def test_the_loaders_limit_holds_where_a_call_gives_none(load: Load, crowd: np.ndarray):
    limited = load(max_faces=2)
    assert [len(limited.get(crowd, max_num=n)) for n in (0, 1, 4)] == [2, 1, 4]


def test_what_consumers_set_does_not_reach_the_packs_own_nodes(load: Load, close_up: np.ndarray):
    """Else what a node finds would depend on which other node happened to run before it."""
    app = load()
    images = Images.from_bgr(close_up)
    assert len(app.analyze(images)) == 0
    app.det_model.input_size = (320, 320)
    assert len(app.get(close_up)) == 1
    assert len(app.analyze(images)) == 0
