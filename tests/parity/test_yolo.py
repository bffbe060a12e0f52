"""YOLO's face detectors: fed, read and suppressed as their own projects do it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.nodes.detect import FastFaceDetect
from fastface.utils.errors import ModelError
from fastface.utils.images import Images
from tests.parity.detectors import BACKENDS, make_pack, open_pack, photo
from tests.parity.yolo_graphs import letterboxed, suppressed, write_yolo

SIDE = 320
#: Numbers a place consists of, and whether places are rows: YOLOv8 and 11; YOLOv5.
FORMS = [(5, False), (15, False), (20, False), (6, True), (16, True)]
#: Low enough for some faces, high enough for few whose scores are nearly equal.
THRESHOLDS = {False: 0.9, True: 0.7}


def picture(seed: int, height: int = 200, width: int = 260) -> np.ndarray:
    """`[H,W,3]` uint8 BGR, with as much structure as a photo has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def reference_faces(
    graph: Path, image: np.ndarray, by_rows: bool, is_fixed: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes with score `[N,5]` and landmarks `[N,5,2]`, best first."""
    blob, scale, corner = letterboxed(image, SIDE, is_fixed)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rows = np.asarray(session.run(None, {"images": blob})[0])[0]
    rows = rows if by_rows else rows.T
    least = THRESHOLDS[by_rows]
    scores = rows[:, 4] * rows[:, -1] if by_rows else rows[:, 4]
    rows, scores = rows[scores >= least], scores[scores >= least]
    corners = np.hstack((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2))
    keep = suppressed(np.column_stack((corners, scores)), 0.5 if by_rows else 0.7)
    most = np.array([image.shape[1], image.shape[0]])
    boxes = ((corners[keep].reshape(-1, 2, 2) - corner) / scale).clip(0, most).reshape(-1, 4)
    points = rows[keep, 5:-1] if by_rows else rows[keep, 5:]
    landmarks = None
    if points.shape[1]:
        pairs = points.reshape(len(points), 5, -1)[..., :2]
        landmarks = ((pairs - corner) / scale).clip(0, most)
    return np.column_stack((boxes, scores[keep])), landmarks


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(("values", "by_rows"), FORMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_same_faces_as_the_arithmetic_of_the_exporters(
    backend: str, values: int, by_rows: bool, is_fixed: bool, tmp_path: Path
):
    pytest.importorskip(backend)
    graph = write_yolo(tmp_path / "face.onnx", values, SIDE if is_fixed else None, by_rows)
    app = open_pack(
        make_pack(tmp_path, graph), backend, det_size=SIDE, det_threshold=THRESHOLDS[by_rows]
    )
    found = 0
    for seed, size in enumerate([(200, 260), (333, 111), (320, 320)]):
        image = picture(seed, *size)
        boxes, landmarks = app.det_model.detect(image)
        expected, points = reference_faces(graph, image, by_rows, is_fixed)
        assert len(boxes) == len(expected)
        assert (np.diff(boxes[:, 4]) <= 0).all()
        # Engines round differently, and two scores may be equal to the last digits.
        ours, theirs = boxes[:, 0].argsort(), expected[:, 0].argsort()
        assert np.abs(boxes[ours] - expected[theirs]).max(initial=0) < 0.01
        assert (landmarks is None) == (points is None) == (not app.det_model.use_kps)
        if points is not None:
            assert np.abs(landmarks[ours] - points[theirs]).max(initial=0) < 0.01
        found += len(boxes)
    assert found > 10
    assert not app.analyzer.runs_on()["detection"].note


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(("values", "by_rows"), [(20, False), (16, True)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_images_at_once_give_what_single_ones_give(
    backend: str, values: int, by_rows: bool, is_fixed: bool, tmp_path: Path
):
    pytest.importorskip(backend)
    graph = write_yolo(tmp_path / "face.onnx", values, SIDE if is_fixed else None, by_rows)
    analyzer = open_pack(make_pack(tmp_path, graph), backend).analyzer
    options = DetectionOptions(((SIDE, SIDE),), THRESHOLDS[by_rows], 0.5)
    batch = torch.from_numpy(
        np.stack([picture(seed) for seed in range(8)]).astype(np.float32) / 255
    )
    faces = analyzer.detect(Images.from_comfy(batch), options)
    assert len(set(faces.images_of_faces())) > 4
    for number in range(8):
        alone = analyzer.detect(Images.from_comfy(batch[number : number + 1]), options)
        together = faces.of_image(number)
        assert len(alone) == len(together)
        assert torch.allclose(alone.boxes, together.boxes, atol=0.01)
        assert torch.allclose(alone.landmarks, together.landmarks, atol=0.01)


def test_boxes_alone_can_be_shown_but_not_embedded(test_data: Path, tmp_path: Path):
    graph = write_yolo(tmp_path / "face.onnx", 5, None)
    root = make_pack(tmp_path, graph, test_data / "models" / "mobilefacenet.onnx")
    app = open_pack(root, det_size=SIDE, det_threshold=0.9)
    image = picture(1)
    assert app.analyzer.pack.tasks == ("detection", "recognition")
    rgb = torch.from_numpy(image[..., ::-1].astype(np.float32) / 255)[None]
    faces = FastFaceDetect().detect(faceanalysis=app, images=rgb)["result"][0]
    assert len(faces) and faces.landmarks is None
    found = app.get(image)
    assert len(found) == len(faces) and found[0].kps is None
    with pytest.raises(ModelError, match="gives no landmarks, so faces can't be aligned"):
        _ = found[0].embedding


def seeded_export(
    name: str, config: str, keypoints: list[int] | None, image: np.ndarray, side: int
):
    """Exports ultralytics' own model with one class and random weights that react to pictures."""
    from ultralytics import YOLO, settings  # noqa: F401
    from ultralytics.utils import ROOT, YAML

    described = YAML.load(ROOT / "cfg" / "models" / config)
    described |= {"nc": 1, "scale": "n"} | ({"kpt_shape": keypoints} if keypoints else {})
    YAML.save(f"{name}.yaml", described)
    torch.manual_seed(0)
    model = YOLO(f"{name}.yaml", task="pose" if keypoints else "detect")
    network: Any = model.model
    batch = torch.from_numpy(cv2.resize(image, (side, side))[..., ::-1].copy())
    batch = batch.permute(2, 0, 1)[None].float() / 255
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.cat((batch, batch.flip(3))))
        head = network.eval().model[-1]
        for branch in (head.cv2, head.cv3, getattr(head, "cv4", None) or []):
            for level in branch:
                level[-1].weight.normal_(0, 0.5 / level[-1].weight.shape[1] ** 0.5)
                level[-1].bias.normal_(0, 0.5)
    return model


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(
    ("name", "config", "keypoints"),
    [
        ("yolov8n-face", "v8/yolov8-pose.yaml", [5, 3]),
        ("yolo11n-face", "11/yolo11-pose.yaml", [5, 2]),
        ("yolov8n-boxes", "v8/yolov8.yaml", None),
    ],
)
def test_same_faces_as_ultralytics(
    name: str,
    config: str,
    keypoints: list[int] | None,
    dynamic: bool,
    test_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_CONFIG_DIR", os.environ.get("YOLO_CONFIG_DIR", str(tmp_path)))
    ultralytics = pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    monkeypatch.chdir(tmp_path)
    model = seeded_export(name, config, keypoints, photo(test_data, "multiface"), SIDE)
    graph = Path(
        model.export(
            format="onnx", imgsz=SIDE, dynamic=dynamic, simplify=False, opset=12, device="cpu"
        )
    )
    app = open_pack(make_pack(tmp_path, graph), det_size=SIDE, det_threshold=0.5)
    exported = ultralytics.YOLO(str(graph), task="pose" if keypoints else "detect")
    found = 0
    for photo_name in ("multiface", "Stallone", "rot_0"):
        image = photo(test_data, photo_name)
        (expected,) = exported.predict(
            image, imgsz=SIDE, conf=0.5, iou=0.7, max_det=9999, device="cpu", verbose=False
        )
        boxes, landmarks = app.det_model.detect(image)
        assert len(boxes) == len(expected.boxes)
        assert np.abs(boxes - expected.boxes.data[:, :5].numpy()).max(initial=0) < 0.01
        if keypoints:
            points = expected.keypoints.xy.numpy()
            assert np.abs(landmarks - points).max(initial=0) < 0.01
        else:
            assert landmarks is None
        found += len(boxes)
    assert found > 3
