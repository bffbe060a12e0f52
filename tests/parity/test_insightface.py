"""The same faces, boxes, landmarks and embeddings as the real insightface, on real photos."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastface.backends.base import GraphBackend
from fastface.backends.registry import all_backends
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from tests.photos import read_bgr

insightface_app = pytest.importorskip("insightface.app")

#: What the pack promises: pixels, pixels, cosine.
MAX_BOX_PX, MAX_LANDMARK_PX, MIN_COSINE = 0.5, 0.5, 0.9999

#: Names and precisions.
_BACKENDS = [
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("torch", "fp32"),
    # What backend torch takes on a GPU by itself.
    ("torch", "mixed"),
    ("insightface", "fp32"),
]
#: What runs graphs that were built before; its answers are compared when they are built.
_BUILT_BEFORE = {"tensorrt"}

FACES_IN = {"multiface.jpg": 6, "solvay.jpg": 29, "t1": 6}
PHOTOS = [*FACES_IN, "Stallone.jpg", "rot_0.jpg", "rot_90.jpg", "rot_180.jpg", "rot_270.jpg"]


@pytest.fixture(scope="module")
def upstream(test_data: Path):
    app = insightface_app.FaceAnalysis(
        name=str(test_data / "models"), providers=["CPUExecutionProvider"]
    )
    app.prepare(ctx_id=0, det_size=(640, 640))
    return app


@pytest.fixture(scope="module", params=_BACKENDS, ids=" ".join)
def ours(request: pytest.FixtureRequest, test_data: Path) -> FaceAnalysis:
    backend, precision = request.param
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FASTFACE_MODELS", str(test_data / "models"))
        return load_face_analysis(
            model_pack="models", backend=backend, device="cpu", precision=precision
        )


def test_every_backend_of_graphs_is_held_against_insightface():
    graphs = {name for name, one in all_backends().items() if isinstance(one, GraphBackend)}
    missing = graphs - _BUILT_BEFORE - {name for name, _precision in _BACKENDS}
    assert not missing, f"give {sorted(missing)} a row in _BACKENDS"


def max_norm_error(app: FaceAnalysis) -> float:
    """Of an embedding's length, relative: a sum of 11-bit products is not exact to ten."""
    return 1e-3 if app.analyzer.placement.precision == "fp32" else 5e-3


def read_photo(test_data: Path, name: str) -> np.ndarray:
    if name == "t1":
        from insightface.data import get_image

        return np.asarray(get_image("t1"))
    return read_bgr(test_data / "images" / name)


@pytest.mark.parametrize("name", PHOTOS)
def test_same_faces_as_upstream(ours: FaceAnalysis, upstream, test_data: Path, name: str) -> None:
    photo = read_photo(test_data, name)
    expected, got = upstream.get(photo), ours.get(photo)
    assert len(got) == len(expected) == FACES_IN.get(name, len(expected))
    for theirs, mine in zip(expected, got, strict=True):
        assert np.abs(mine.bbox - theirs.bbox).max() < MAX_BOX_PX
        assert np.abs(mine.kps - theirs.kps).max() < MAX_LANDMARK_PX
        assert abs(mine.det_score - theirs.det_score) < 1e-3
        assert mine.normed_embedding @ theirs.normed_embedding > MIN_COSINE
        assert mine.embedding.dtype == theirs.embedding.dtype == np.float32
        assert abs(mine.embedding_norm / theirs.embedding_norm - 1) < max_norm_error(ours)


@pytest.mark.parametrize("det_size", [None, (320, 320), (640, 384), (1280, 1280)])
def test_same_faces_at_other_sizes(
    ours: FaceAnalysis, upstream, test_data: Path, det_size: tuple[int, int] | None
) -> None:
    photo = read_photo(test_data, "multiface.jpg")
    upstream.prepare(ctx_id=0, det_size=det_size)
    ours.prepare(ctx_id=0, det_size=det_size)
    try:
        expected, got = upstream.get(photo), ours.get(photo)
    finally:
        upstream.prepare(ctx_id=0, det_size=(640, 640))
        ours.prepare(ctx_id=0, det_size=(640, 640))
    assert len(expected) >= 5
    assert len(got) == len(expected)
    for theirs, mine in zip(expected, got, strict=True):
        assert np.abs(mine.bbox - theirs.bbox).max() < MAX_BOX_PX
        assert np.abs(mine.kps - theirs.kps).max() < MAX_LANDMARK_PX


def test_embeddings_of_aligned_faces(ours: FaceAnalysis, upstream, test_data: Path) -> None:
    # Trusted test data, pickled by its publishers: (JPEGs, which pairs are one person).
    jpegs, _ = pickle.loads(
        (test_data / "images" / "lfw_10_pairs.bin").read_bytes(), encoding="bytes"
    )
    crops = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
    assert len(crops) == 20
    model = upstream.models["recognition"]
    expected = np.concatenate([model.get_feat(crop) for crop in crops])
    got = ours.models["recognition"].get_feat(crops)
    cosines = (
        (got * expected).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
    )
    assert cosines.min() > 0.9999
