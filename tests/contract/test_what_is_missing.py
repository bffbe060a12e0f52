"""Packs that lack a model: None where upstream says None, and a reason where None would mislead."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.dropin.facade import FaceAnalysis
from fastface.backends.loading import load_face_analysis
from fastface.backends.registry import get_backend
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError

READINGS: list[Callable[[Any], Any]] = [
    lambda face: face["embedding"],
    lambda face: face.embedding,
    lambda face: face.get("embedding"),
    lambda face: face.get("embedding", 0),
    lambda face: face.normed_embedding,
    lambda face: face.embedding_norm,
]


@pytest.fixture
def facenet() -> FaceAnalysis:
    try:
        get_backend("facenet")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    return load_face_analysis(model_pack="facenet-mtcnn", backend="facenet", device="cpu")


@pytest.fixture
def part_of_pack(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Makes a pack of one file of the test data, and tells the loader where it is."""

    def make(pattern: str) -> Path:
        folder = tmp_path / "part"
        folder.mkdir()
        for path in (test_data / "models").glob(pattern):
            shutil.copy(path, folder)
        monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path))
        return folder

    return make


@pytest.mark.parametrize("read", READINGS)
def test_a_facenet_face_says_why_it_has_no_embedding(
    facenet: FaceAnalysis, portrait: np.ndarray, read: Callable[[Any], Any]
):
    (face,) = facenet.get(portrait)
    for one in (face, copy.copy(face), copy.deepcopy(face), pickle.loads(pickle.dumps(face))):
        with pytest.raises(InvalidInput, match=r"facenet.*antelopev2"):
            read(one)


def test_a_facenet_face_has_all_the_rest(facenet: FaceAnalysis, portrait: np.ndarray):
    (face,) = facenet.get(portrait)
    for taken in (dict(face), {**face}, face.copy(), dict(face.items()), copy.deepcopy(face)):
        assert set(taken) == {"bbox", "kps", "det_score"}
    assert "embedding" not in face and face.gender is None and "'embedding'" not in repr(face)
    assert face.bbox.shape == (4,) and face.kps.shape == (5, 2)
    face.embedding = np.ones(512, dtype=np.float32)
    assert face.normed_embedding.shape == (512,)


def test_a_facenet_object_refuses_to_embed(facenet: FaceAnalysis, portrait: np.ndarray):
    from fastface.utils.images import Images

    images = Images.from_bgr(portrait)
    with pytest.raises(ModelError, match="has no recognition model"):
        facenet.analyze(images, ["recognition"])


def test_without_recognition_the_embedding_reads_none(
    part_of_pack: Callable[[str], Path], portrait: np.ndarray
):
    part_of_pack("scrfd*.onnx")
    app = load_face_analysis(model_pack="part", backend="onnxruntime", device="cpu")
    assert list(app.models) == ["detection"]
    (face,) = app.get(portrait)
    assert face.embedding is face.normed_embedding is face.embedding_norm is None
    assert face.get("embedding", 7) == 7 and set(face) == {"bbox", "kps", "det_score"}
    with pytest.raises(KeyError):
        face["embedding"]


def test_without_a_detector_it_does_not_load(part_of_pack: Callable[[str], Path]):
    folder = part_of_pack("mobilefacenet.onnx")
    with pytest.raises(ModelError, match="no detection model") as refused:
        load_face_analysis(model_pack="part", backend="onnxruntime", device="cpu")
    assert str(folder) in str(refused.value) and "choose a pack" in str(refused.value)
