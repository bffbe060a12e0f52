"""The same embeddings as OpenCV's FaceRecognizerSF: alignment, colours and scale of its input.

SFace's own weights are not at hand: both run a graph of its form with random weights.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fastface.nodes.embed import FastFaceEmbed
from tests.parity.detectors import BACKENDS, make_pack, open_pack, photo
from tests.parity.sface_graphs import DIMENSIONS, write_sface
from tests.parity.test_yunet import opencv_faces

MIN_COSINE = 0.99999


def by_opencv(graph: Path, image: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """`[N,128]` of faces as FaceDetectorYN gives them."""
    recognizer = cv2.FaceRecognizerSF.create(str(graph), "")
    features = [recognizer.feature(recognizer.alignCrop(image, face)).copy() for face in faces]
    return np.concatenate(features)


@pytest.fixture
def root(test_data: Path, tmp_path: Path) -> Path:
    graph = write_sface(tmp_path / "recognition.onnx")
    return make_pack(tmp_path, test_data / "detectors" / "yunet_n_dynamic.onnx", graph)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["multiface", "Stallone", "rot_90"])
def test_same_embeddings_as_opencv(backend: str, name: str, test_data: Path, root: Path):
    pytest.importorskip(backend)
    image = photo(test_data, name)
    image = image[:640, :640]  # whole on the detector's input: both see the very same faces
    faces = opencv_faces(test_data, image, 0.6)
    wanted = by_opencv(root / "recognition.onnx", image, faces)
    app = open_pack(root, backend, det_threshold=0.6)
    side = max(image.shape[:2])
    found = app.get(image, det_size=(side, side))
    assert len(found) == len(faces) and len(faces)
    for face, expected in zip(found, wanted, strict=True):
        got = face.embedding
        assert got.shape == (DIMENSIONS,)
        cosine = got @ expected / np.linalg.norm(got) / np.linalg.norm(expected)
        assert cosine > MIN_COSINE
        assert np.linalg.norm(got) == pytest.approx(np.linalg.norm(expected), rel=1e-3)


def test_wrong_colours_or_scale_would_show(test_data: Path, root: Path):
    """What the tolerance is worth: blue for red, and pixels scaled as ArcFace's are."""
    image = photo(test_data, "Stallone")
    (face,) = opencv_faces(test_data, image)
    graph = root / "recognition.onnx"
    crop = cv2.FaceRecognizerSF.create(str(graph), "").alignCrop(image, face)
    recognizer = cv2.FaceRecognizerSF.create(str(graph), "")
    right = recognizer.feature(crop).copy().ravel()
    turned = recognizer.feature(np.ascontiguousarray(crop[..., ::-1])).copy().ravel()
    assert right @ turned / np.linalg.norm(right) / np.linalg.norm(turned) < MIN_COSINE


def test_batches_equal_single_images(test_data: Path, root: Path):
    app = open_pack(root)
    image = photo(test_data, "multiface")[..., ::-1][:480, :480]
    one = torch.from_numpy(image.copy()).float() / 255
    batch = torch.stack([one.roll(8 * step, 1) for step in range(8)])
    embed = FastFaceEmbed()
    together = embed.embed(app, batch)["result"][0]
    apart = [embed.embed(app, batch[step : step + 1])["result"][0] for step in range(8)]
    rows = torch.cat([faces.embeddings for faces in apart])
    assert len(rows) and torch.allclose(together.embeddings, rows, atol=1e-4)
