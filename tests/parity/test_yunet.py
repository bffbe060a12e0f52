"""The same faces as OpenCV's FaceDetectorYN, on real photos with the real weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.parity.detectors import BACKENDS, PHOTOS, make_pack, open_pack, photo, resized

#: What the references and we may differ by; OpenCV runs the network with an engine of its own.
MAX_PX, MAX_SCORE = 0.01, 1e-5


def opencv_faces(test_data: Path, image: np.ndarray, threshold: float = 0.9) -> np.ndarray:
    """`[N,15]`: left, top, width, height, five landmarks, score."""
    graph = str(test_data / "detectors" / "yunet_n_dynamic.onnx")
    size_wh = image.shape[1], image.shape[0]
    _, found = cv2.FaceDetectorYN.create(graph, "", size_wh, threshold, 0.3, 5000).detect(image)
    # OpenCV's stub does not know that it gives None.
    nothing = found is None  # pyright: ignore[reportUnnecessaryComparison]
    return np.zeros((0, 15), np.float32) if nothing else found


def hold_against(boxes: np.ndarray, landmarks: np.ndarray, opencv: np.ndarray, scale: np.ndarray):
    assert len(boxes) == len(opencv)
    corners = np.concatenate((opencv[:, :2], opencv[:, :2] + opencv[:, 2:4]), 1)
    assert np.abs(boxes[:, :4] - corners / np.tile(scale, 2)).max(initial=0) < MAX_PX
    points = opencv[:, 4:14].reshape(-1, 5, 2)
    assert np.abs(landmarks - points / scale).max(initial=0) < MAX_PX
    assert np.abs(boxes[:, 4] - opencv[:, 14]).max(initial=0) < MAX_SCORE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", [640, 1024])
def test_same_faces_as_opencv(backend: str, side: int, test_data: Path, tmp_path: Path):
    pytest.importorskip(backend)
    root = make_pack(tmp_path, test_data / "detectors" / "yunet_n_dynamic.onnx")
    app = open_pack(root, backend, det_size=side)
    faces_in = {}
    for name in PHOTOS:
        image = photo(test_data, name)
        small, scale = resized(image, side)
        boxes, landmarks = app.det_model.detect(image)
        hold_against(boxes, landmarks, opencv_faces(test_data, small), scale)
        faces_in[name] = len(boxes)
    assert faces_in == {
        "multiface": 6,
        "solvay": 28 if side == 1024 else 10,
        "Stallone": 1,
        "rot_0": 1,
    }


def test_low_thresholds_suppress_as_opencv_does(test_data: Path, tmp_path: Path):
    root = make_pack(tmp_path, test_data / "detectors" / "yunet_n_dynamic.onnx")
    app = open_pack(root, det_threshold=0.1)
    image, _ = resized(photo(test_data, "solvay"), 640)
    boxes, landmarks = app.det_model.detect(image)
    hold_against(boxes, landmarks, opencv_faces(test_data, image, 0.1), np.ones(2))
    assert len(boxes) > 28


def test_a_graph_of_fixed_size_gets_black_margins(test_data: Path, tmp_path: Path):
    root = make_pack(tmp_path, test_data / "detectors" / "yunet_n_640_640.onnx")
    app = open_pack(root)
    for name in PHOTOS:
        small, scale = resized(photo(test_data, name), 640)
        canvas = np.zeros((640, 640, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        boxes, landmarks = app.det_model.detect(photo(test_data, name))
        hold_against(boxes, landmarks, opencv_faces(test_data, canvas), scale)


def test_turned_channels_change_the_answer(test_data: Path, tmp_path: Path):
    root = make_pack(tmp_path, test_data / "detectors" / "yunet_n_dynamic.onnx")
    image, _ = resized(photo(test_data, "multiface"), 640)
    blue = np.ascontiguousarray(image[..., ::-1])
    boxes, landmarks = open_pack(root).det_model.detect(blue)
    hold_against(boxes, landmarks, opencv_faces(test_data, blue), np.ones(2))
