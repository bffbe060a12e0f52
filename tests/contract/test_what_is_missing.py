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
import torch

from fastface.backends.registry import get_backend
from fastface.nodes.embed import FastFaceEmbed
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError

CPU_PROVIDER = "CPUExecutionProvider"

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


@pytest.mark.parametrize("heads", ["detection", "detection, landmark_2d_106"])
def test_what_was_left_out_is_explained_to_instantid(
    full_app: FaceAnalysis, five_models: Path, portrait: np.ndarray, heads: str
):
    """It reads `face['embedding']`, which upstream answers with a bare KeyError."""
    upstream = pytest.importorskip("insightface.app").FaceAnalysis
    app = load_face_analysis(model_pack="five", backend="onnxruntime", device="cpu", heads=heads)
    allowed = [task.strip() for task in heads.split(",")]
    reference = upstream(str(five_models), allowed_modules=allowed, providers=[CPU_PROVIDER])
    reference.prepare(0, det_size=(640, 640))
    (mine,), (theirs,) = app.get(portrait), reference.get(portrait)
    assert set(mine) == set(theirs)
    for face in (mine, theirs, copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert "embedding" not in face and face.get("embedding") is None
        assert face.embedding is face.normed_embedding is face.embedding_norm is None
        assert hasattr(face, "embedding") and hasattr(face, "gender")
        for key in ("embedding", "gender", "age", "landmark_3d_68"):
            with pytest.raises(KeyError):
                face[key]
    with pytest.raises(InvalidInput) as embed:
        FastFaceEmbed().embed(app, torch.from_numpy(portrait[None, ..., ::-1] / 255).float())
    with pytest.raises(KeyError) as item:
        mine["embedding"]
    assert str(item.value) == str(embed.value)
    assert "recognition was left out by heads" in str(embed.value)


def test_what_the_pack_lacks_is_explained(
    part_of_pack: Callable[[str], Path], portrait: np.ndarray, caplog: pytest.LogCaptureFixture
):
    part_of_pack("scrfd*.onnx")
    app = load_face_analysis(model_pack="part", backend="onnxruntime", device="cpu")
    (face,) = app.get(portrait)
    with pytest.raises(KeyError, match="has no recognition model, only detection; choose a pack"):
        face["embedding"]
    with pytest.raises(KeyError, match="has no genderage model"):
        face["age"]
    # IPAdapter and PuLID read the attribute and go on with None: the log has the reason.
    assert face.normed_embedding is None
    assert "embedding was read and is None: pack 'part'" in caplog.text


def test_without_a_detector_it_does_not_load(part_of_pack: Callable[[str], Path]):
    folder = part_of_pack("mobilefacenet.onnx")
    with pytest.raises(ModelError, match="no detection model") as refused:
        load_face_analysis(model_pack="part", backend="onnxruntime", device="cpu")
    assert str(folder) in str(refused.value) and "choose a pack" in str(refused.value)
