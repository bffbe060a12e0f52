"""Frames of a video, as one batch of tensors, against insightface frame by frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fastface.backends.registry import all_backends
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.images import Images

insightface_app = pytest.importorskip("insightface.app")

EVERY = 10


@pytest.fixture(scope="module")
def frames(test_data: Path) -> list[np.ndarray]:
    """Every tenth frame, `[H,W,3]` uint8 BGR."""
    video = cv2.VideoCapture(str(test_data / "images" / "video.mp4"))
    kept = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        kept.append(frame)
    assert len(kept) == 105
    return kept[::EVERY]


@pytest.fixture(scope="module")
def expected(test_data: Path, frames: list[np.ndarray]) -> list[list]:
    app = insightface_app.FaceAnalysis(
        name=str(test_data / "models"), providers=["CPUExecutionProvider"]
    )
    app.prepare(ctx_id=0, det_size=(640, 640))
    return [app.get(frame) for frame in frames]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_batch_of_frames_equals_upstream(
    test_data: Path,
    frames: list[np.ndarray],
    expected: list[list],
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))
    app = load_face_analysis(model_pack="models", backend=backend, device="cpu")
    # As ComfyUI hands them over: RGB, floating, 0..1.
    batch = torch.from_numpy(np.stack(frames)[..., ::-1].copy()).float() / 255
    found = app.analyze(Images.from_comfy(batch), ["recognition"])
    assert found.per_image() == [len(faces) for faces in expected]
    assert sum(found.per_image()) >= len(frames) // 2
    upstream = [face for faces in expected for face in faces]
    boxes, landmarks = found.boxes.numpy(), found.landmarks.numpy()
    embeddings = torch.nn.functional.normalize(found.embeddings).numpy()
    for row, face in enumerate(upstream):
        assert np.abs(boxes[row] - face.bbox).max() < 0.5
        assert np.abs(landmarks[row] - face.kps).max() < 0.5
        assert embeddings[row] @ face.normed_embedding > 0.9999
