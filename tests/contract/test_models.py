"""`models`: upstream's networks by task: to be called, added to, taken away, replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face
from fastface.utils.errors import InvalidInput
from tests.contract.compare import assert_same_faces, assert_same_identity
from tests.contract.conftest import Counted

TASKS = ["detection", "landmark_3d_68", "landmark_2d_106", "genderage", "recognition"]


def test_models_come_in_the_order_of_the_contract(full_app: FaceAnalysis):
    assert list(full_app.models) == TASKS
    assert [model.taskname for model in full_app.models.values()] == TASKS
    assert full_app.models["detection"] is full_app.det_model


def test_each_has_upstreams_session_and_file(full_app: FaceAnalysis, full_upstream: Any):
    import onnxruntime

    for task, model in full_app.models.items():
        assert isinstance(model.session, onnxruntime.InferenceSession)
        assert model.model_file == full_upstream.models[task].model_file
        model.prepare(0)
    for task in TASKS[1:]:
        theirs = full_upstream.models[task]
        for name in ("input_size", "input_mean", "input_std"):
            assert getattr(full_app.models[task], name) == getattr(theirs, name)


@pytest.mark.parametrize("task", TASKS[1:])
@pytest.mark.parametrize("face_class", ["upstream's", "ours"])
def test_each_fills_in_a_face_as_upstream(
    full_app: FaceAnalysis, full_upstream: Any, portrait: np.ndarray, task: str, face_class: str
):
    from insightface.app.common import Face as TheirFace

    boxes, points = full_app.det_model.detect(portrait)
    place = {"bbox": boxes[0, :4], "kps": points[0], "det_score": boxes[0, 4]}
    mine = (Face if face_class == "ours" else TheirFace)(**place)
    theirs = TheirFace(**place)
    answer = full_app.models[task].get(portrait, mine)
    expected = full_upstream.models[task].get(portrait, theirs)
    assert set(mine) == set(theirs)
    for key in set(theirs) - set(place):
        assert np.allclose(mine[key], theirs[key], atol=0.05 if task != "recognition" else 0.02)
    assert np.allclose(answer, expected, atol=0.05)


@pytest.mark.parametrize("backend", ["onnxruntime", "insightface"])
def test_get_feat_as_upstream(
    load: Callable[..., FaceAnalysis], upstream: Any, crowd: np.ndarray, backend: str
):
    from insightface.utils import face_align

    theirs = upstream.models["recognition"]
    mine = load(backend=backend).models["recognition"]
    assert mine.input_size == theirs.input_size == (112, 112)
    crops = [face_align.norm_crop(crowd, face.kps) for face in upstream.get(crowd)]
    crops.append(cv2.resize(crowd, (200, 150)))
    for batch in (crops[0], crops[-1]):
        assert mine.get_feat(batch).shape == theirs.get_feat(batch).shape
        assert_same_identity(mine.get_feat(batch), theirs.get_feat(batch))
    features = mine.get_feat(crops)
    assert features.shape == (len(crops), theirs.output_shape[1])
    for crop, feature in zip(crops, features, strict=True):
        assert_same_identity(feature, theirs.get_feat(crop))
    first, second = features[:2]
    similarity = theirs.compute_sim(first, second)
    assert abs(mine.compute_sim(first[None], second) - similarity) < 1e-6


def test_a_model_that_a_consumer_added_is_asked(app: FaceAnalysis, crowd: np.ndarray):
    class Glasses:
        taskname = "glasses"

        def get(self, img: np.ndarray, face: Any) -> None:
            face["glasses"] = float(np.linalg.norm(face.embedding))

    app.models["glasses"] = Glasses()
    for face in app.get(crowd):
        assert face.glasses == face.embedding_norm


def test_a_model_that_a_consumer_took_away_is_gone(counted: Counted, crowd: np.ndarray):
    del counted.app.models["recognition"]
    faces = counted.app.get(crowd)
    assert all(face.embedding is face.normed_embedding is None for face in faces)
    assert all("embedding" not in face for face in faces)
    assert counted.totals() == {"detection": 1}


def test_a_model_under_another_name_still_serves(app: FaceAnalysis, portrait: np.ndarray):
    app.models["arcface"] = app.models.pop("recognition")
    assert app.get(portrait)[0].embedding is not None


def test_a_replaced_method_is_called(app: FaceAnalysis, portrait: np.ndarray):
    recognition = app.models["recognition"]
    first = recognition.get

    def normalised(img: np.ndarray, face: Any) -> np.ndarray:
        first(img, face)
        face.embedding = face.normed_embedding
        return face.embedding

    recognition.get = normalised
    assert abs(app.get(portrait)[0].embedding_norm - 1) < 1e-6


def test_a_model_of_upstream_can_be_put_in(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    app.models["recognition"] = upstream.models["recognition"]
    assert_same_faces(app.get(crowd), upstream.get(crowd))


@pytest.mark.parametrize("task", ["recognition"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bbox", None),
        ("bbox", "box"),
        ("bbox", [1, 2, 3]),
        ("bbox", [[1, 2, 3, 4]]),
        ("kps", [1, 2]),
        ("kps", "points"),
        ("kps", np.zeros((4, 2))),
    ],
    ids=str,
)
def test_a_face_that_is_none_is_refused_by_name(
    app: FaceAnalysis, crowd: np.ndarray, task: str, field: str, value: Any
):
    face = app.get(crowd)[0]
    face[field] = value
    with pytest.raises(InvalidInput, match=f"got a face whose {field} is .* expected"):
        app.models[task].get(crowd, face)


def test_an_image_that_is_none_is_refused_by_name(app: FaceAnalysis, crowd: np.ndarray):
    (face, *_) = app.get(crowd)
    with pytest.raises(InvalidInput, match="expected a BGR uint8 numpy image"):
        app.models["recognition"].get("photo.png", face)


def test_a_box_may_have_its_score_behind_it(app: FaceAnalysis, crowd: np.ndarray):
    face = app.get(crowd)[0]
    expected = app.models["recognition"].get(crowd, face).copy()
    face.bbox = np.append(face.bbox, 0.9)
    assert np.array_equal(app.models["recognition"].get(crowd, face), expected)


def test_no_crop_at_all(app: FaceAnalysis):
    assert app.models["recognition"].get_feat([]).shape == (0, 128)
