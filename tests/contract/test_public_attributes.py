"""What insightface 2.1's models have for everyone to see: there, with upstream's meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.registry import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.errors import BackendUnavailable

BACKENDS = ["onnxruntime", "torch", "openvino", "insightface"]
#: Upstream's objects of its own, or what changes with use.
NOT_COMPARED = {"session", "resolution_session_factory", "resolution_sessions"}


def on_backend(backend: str, pack: Path, monkeypatch: pytest.MonkeyPatch) -> FaceAnalysis:
    try:
        get_backend(backend)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setenv("FASTFACE_MODELS", str(pack.parent))
    return load_face_analysis(model_pack=pack.name, backend=backend, device="cpu")


@pytest.fixture(params=BACKENDS)
def five(
    request: pytest.FixtureRequest, five_models: Path, monkeypatch: pytest.MonkeyPatch
) -> FaceAnalysis:
    return on_backend(request.param, five_models, monkeypatch)


@pytest.fixture(params=BACKENDS)
def raccoon(
    request: pytest.FixtureRequest, manifest_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> FaceAnalysis:
    return on_backend(request.param, manifest_pack, monkeypatch)


def public(model: Any) -> list[str]:
    return sorted(name for name in {*dir(model), *vars(model)} if not name.startswith("_"))


def assert_same_attributes(mine: FaceAnalysis, theirs: Any) -> None:
    mine.prepare(0, det_size=(640, 640))
    theirs.prepare(0, det_size=(640, 640))
    assert set(theirs.models) == set(mine.models)
    for task, model in theirs.models.items():
        for name in public(model):
            where = f"{task}.{name}"
            expected = getattr(model, name)
            got = getattr(mine.models[task], name)
            if callable(expected) and not isinstance(expected, type):
                assert callable(got) or name in NOT_COMPARED, where
            elif name == "center_cache":
                assert isinstance(got, dict), where
            elif name == "input_sizes":
                assert isinstance(expected, tuple | list) and list(got) == list(expected), where
            elif name == "preprocessing" and isinstance(expected, Mapping):
                assert got == dict(expected), where
            elif name == "static_shape_sessions":
                assert got is False, "one session serves all sizes"
            elif name == "resolution_session_input_sizes":
                assert (640, 640) in got, where
            elif isinstance(expected, np.ndarray):
                assert np.array_equal(got, expected), where
            elif name not in NOT_COMPARED:
                assert got == expected and type(got) is type(expected), where


def test_of_five_models(five: FaceAnalysis, full_upstream: Any):
    assert_same_attributes(five, full_upstream)


def test_of_a_pack_with_a_manifest(raccoon: FaceAnalysis, manifest_upstream: Any):
    assert_same_attributes(raccoon, manifest_upstream)


def test_of_the_object(five: FaceAnalysis, full_upstream: Any):
    for name in public(full_upstream):
        assert hasattr(five, name), name


@pytest.mark.parametrize("threshold", [0.5, 0.02, 0.99])
def test_forward_of_the_detector(
    five: FaceAnalysis, full_upstream: Any, crowd: np.ndarray, threshold: float
):
    canvas = np.zeros((384, 640, 3), np.uint8)
    height, width = min(384, crowd.shape[0]), min(640, crowd.shape[1])
    canvas[:height, :width] = crowd[:height, :width]
    mine, theirs = five.det_model, full_upstream.det_model
    answers = mine.forward(canvas, threshold), theirs.forward(canvas, threshold)
    for name, ours, reference in zip(("scores", "boxes", "points"), *answers, strict=True):
        assert len(ours) == len(reference) == 3, name
        for level, expected in zip(ours, reference, strict=True):
            assert level.shape == expected.shape and level.dtype == expected.dtype, name
            assert np.allclose(level, expected, atol=2e-2), name
    for key, centres in mine.center_cache.items():
        assert np.array_equal(centres, theirs.center_cache[key])
    assert set(mine.center_cache) <= set(theirs.center_cache) and len(mine.center_cache) == 3


def test_centres_that_a_consumer_put_there_are_used(app: FaceAnalysis):
    canvas = np.full((64, 64, 3), 128, np.uint8)
    before = app.det_model.forward(canvas, 0.0)[1][0]
    app.det_model.center_cache[(8, 8, 8)] = app.det_model.center_cache[(8, 8, 8)] + 100
    assert np.allclose(app.det_model.forward(canvas, 0.0)[1][0], before + 100)


def test_forward_of_recognition(five: FaceAnalysis, full_upstream: Any):
    planes = np.random.default_rng(0).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    mine, theirs = (each.models["recognition"].forward(planes) for each in (five, full_upstream))
    assert mine.shape == theirs.shape and mine.dtype == theirs.dtype == np.float32
    assert np.allclose(mine, theirs, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_nms(app: FaceAnalysis, upstream: Any, count: int):
    random = np.random.default_rng(count)
    corners = random.uniform(0, 100, (count, 2))
    sides = random.uniform(5, 60, (count, 2))
    scores = random.uniform(0, 1, (count, 1)).round(1)  # some alike
    dets = np.hstack((corners, corners + sides, scores)).astype(np.float32)
    for rows in (dets, dets[::-1]):
        assert app.det_model.nms(rows) == list(upstream.det_model.nms(rows))
    app.det_model.nms_thresh = 1.0
    assert len(app.det_model.nms(dets)) == count


def test_the_verifiers_own_calls(raccoon: FaceAnalysis, manifest_upstream: Any, crowd: np.ndarray):
    mine, theirs = raccoon.models["verification"], manifest_upstream.models["verification"]
    boxes = [face.bbox for face in manifest_upstream.get(crowd)]
    for call in (mine.verify, mine.score_boxes):
        for ours, reference in zip(call(crowd, boxes), theirs.verify(crowd, boxes), strict=True):
            assert set(ours) == set(reference)
            assert ours["face_probability"] == pytest.approx(
                reference["face_probability"], abs=1e-3
            )
    assert mine.verify(crowd, []) == theirs.verify(crowd, []) == []
    crops = [crowd[:64, :64], crowd[64:128, :64]]
    for some in (crops, []):
        ours, reference = mine.preprocess(some), theirs.preprocess(some)
        assert ours.shape == reference.shape and ours.dtype == reference.dtype
        assert np.allclose(ours, reference)


def test_attributes_can_be_written(app: FaceAnalysis, upstream: Any):
    for models in (app.models, upstream.models):
        for model in models.values():
            before = model.input_mean
            model.input_mean = 3.0
            model.my_own = "mine"
            assert model.input_mean == 3.0 and model.my_own == "mine"
            model.input_mean = before
            del model.my_own
    for model in app.models.values():
        del model.input_mean
        assert model.input_mean == 127.5


def test_a_cascade_has_what_is_true_of_it(portrait: np.ndarray):
    try:
        get_backend("facenet")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    app = load_face_analysis(model_pack="facenet-mtcnn", backend="facenet", device="cpu")
    model = app.det_model
    assert model.use_kps and not model.batched and model.fmc is None
    assert model.static_input_size is None and model.output_names == []
    assert model.input_shape == [None, 3, None, None] and model.input_name == "image"
    with pytest.raises(BackendUnavailable, match="no single graph"):
        model.forward(np.zeros((64, 64, 3), np.uint8), 0.5)
    dets = np.array([[0, 0, 9, 9, 0.5], [0, 0, 9, 8, 0.9]], np.float32)
    assert model.nms(dets) == [1]
