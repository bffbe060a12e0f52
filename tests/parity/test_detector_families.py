"""What holds for detectors of every family, on every backend that runs graphs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.nodes.detect import FastFaceDetect
from fastface.pipeline.loading import describe_loaded
from fastface.utils.errors import BackendUnavailable
from fastface.utils.images import Images
from tests.parity.detectors import BACKENDS, make_pack, open_pack, photo

GRAPHS = ["yunet_n_dynamic", "yunet_n_640_640", "retinaface_mobilenet025"]


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest, test_data: Path) -> Path:
    return test_data / "detectors" / f"{request.param}.onnx"


def eight_photos(test_data: Path) -> torch.Tensor:
    """`[8,240,320,3]` float32 RGB 0..1: parts of photos, turned ones and a black one among them."""
    images = []
    for name in ("multiface", "Stallone", "rot_0", "rot_90"):
        image = cv2.resize(photo(test_data, name), (320, 240))
        images += [image, image[:, ::-1]]
    images[3] = np.zeros_like(images[3])
    return torch.from_numpy(np.stack(images)[..., ::-1].astype(np.float32) / 255)


@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_images_at_once_give_what_single_ones_give(
    backend: str, graph: Path, test_data: Path, tmp_path: Path
):
    pytest.importorskip(backend)
    analyzer = open_pack(make_pack(tmp_path, graph), backend).analyzer
    options = DetectionOptions(((320, 320),), 0.5)
    batch = eight_photos(test_data)
    faces = analyzer.detect(Images.from_comfy(batch), options)
    assert len(faces) > 4
    for number in range(8):
        alone = analyzer.detect(Images.from_comfy(batch[number : number + 1]), options)
        together = faces.of_image(number)
        assert len(alone) == len(together)
        assert torch.allclose(alone.boxes, together.boxes, atol=0.01)
        assert torch.allclose(alone.scores, together.scores, atol=1e-4)
        if together.landmarks is not None:
            assert torch.allclose(alone.landmarks, together.landmarks, atol=0.01)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_graphs_of_half_precision(backend: str, graph: Path, test_data: Path, tmp_path: Path):
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    half = tmp_path / "half.onnx"
    onnx.save(float16.convert_float_to_float16(onnx.load(graph)), half)
    image = photo(test_data, "multiface")
    found = []
    for place, path in enumerate((graph, half)):
        app = open_pack(make_pack(tmp_path / str(place), path), backend)
        assert app.analyzer.pack.model("detection").input_dtype == ("float32", "float16")[place]
        found.append(app.det_model.detect(image)[0])
        assert not app.analyzer.runs_on()["detection"].note
    full, rounded = found
    assert len(full) == len(rounded) == 6
    # Of faces, and of anchors of one face, whose scores are nearly equal either may come first.
    by_place = [boxes[boxes[:, 0].argsort(), :4] for boxes in found]
    input_pixels = 640 / image.shape[1]
    assert np.abs(by_place[0] - by_place[1]).max() * input_pixels < 2.0


def test_nodes_and_the_drop_in_object(graph: Path, test_data: Path, tmp_path: Path):
    app = open_pack(make_pack(tmp_path, graph), det_threshold=0.5)
    image = photo(test_data, "multiface")
    (boxes, _), faces = app.det_model.detect(image), app.get(image)
    assert len(boxes) == len(faces) == 6
    assert all(face.embedding is None for face in faces)
    rgb = torch.from_numpy(image[..., ::-1].astype(np.float32) / 255)[None]
    result = FastFaceDetect().detect(faceanalysis=app, images=rgb)
    assert len(result["result"][0]) == 6


def test_with_a_recognition_model_beside_it(graph: Path, test_data: Path, tmp_path: Path):
    models = test_data / "models"
    recognition = models / "mobilefacenet.onnx"
    image = photo(test_data, "Stallone")
    app = open_pack(make_pack(tmp_path / "this", graph, recognition))
    scrfd = make_pack(tmp_path / "scrfd", models / "scrfd_2.5g_bnkps.onnx", recognition)
    face, expected = app.get(image)[0], open_pack(scrfd).get(image)[0]
    assert float(face.normed_embedding @ expected.normed_embedding) > 0.8
    family = app.analyzer.pack.model("detection").family
    assert f"the detector is of family {family}, not InsightFace's" in describe_loaded(app)


def test_insightface_itself_is_not_asked_to_run_it(graph: Path, tmp_path: Path):
    pytest.importorskip("insightface")
    with pytest.raises(BackendUnavailable, match="insightface knows detectors of family SCRFD"):
        open_pack(make_pack(tmp_path, graph), "insightface")


def test_single_passes_of_the_drop_in_detector(graph: Path, test_data: Path, tmp_path: Path):
    detector = open_pack(make_pack(tmp_path, graph)).det_model
    canvas = np.zeros((640, 640, 3), np.uint8)
    canvas[:336] = cv2.resize(photo(test_data, "multiface"), (640, 336))
    scores, boxes, points = map(np.concatenate, detector.forward(canvas, 0.5))
    found, landmarks = detector.detect(canvas, det_thresh=0.5)
    best = scores[:, 0].argmax()
    assert len(scores) > len(found) == 6
    assert np.allclose(boxes[best], found[0, :4], atol=0.01)
    assert detector.use_kps == (landmarks is not None)
    assert np.allclose(points[best], landmarks[0], atol=0.01)
