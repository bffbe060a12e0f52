"""Ultralytics' checkpoints against ultralytics itself, with random weights.

Networks of random weights, with the statistics of a photo in their normalisation, make much of the
last bits of float32: how much is told by ultralytics' own answers in float64. Runs where
ultralytics is installed.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.ultralytics_graph import graph_of_checkpoint
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.packs.torch_checkpoint import Checkpoint
from tests.parity.detectors import make_pack, photo

#: Name -> its description in ultralytics, its size, keypoints and their numbers.
NETWORKS = {
    "yolov8n-pose": ("v8/yolov8-pose.yaml", "n", (5, 3)),
    "yolo11n-pose": ("11/yolo11-pose.yaml", "n", (5, 2)),
    "yolov8n": ("v8/yolov8.yaml", "n", None),
    "yolo11n": ("11/yolo11.yaml", "n", None),
    "yolov9t": ("v9/yolov9t.yaml", None, None),
}
#: So many times ultralytics' own error in float32 ours may be, and at least so many pixels.
MAX_TIMES, MIN_PX = 4.0, 0.1


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_OFFLINE", "1")
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("yolo")))
        yield pytest.importorskip("ultralytics")


def make(ultralytics: Any, name: str, image: np.ndarray, folder: Path) -> Path:
    """A checkpoint as ultralytics' trainer saves it; `image` `[320,320,3]` RGB."""
    import yaml

    file, scale, keypoints = NETWORKS[name]
    known = Path(ultralytics.__file__).parent / "cfg" / "models" / file
    described = yaml.safe_load(known.read_text()) | {"nc": 1}
    described |= {"scale": scale} if scale else {}
    described |= {"kpt_shape": list(keypoints)} if keypoints else {}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(described))
    torch.manual_seed(0)
    yolo = ultralytics.YOLO(str(path), task="pose" if keypoints else "detect")
    network = yolo.model.train()
    network.names = {0: "face"}
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        network(torch.cat((x, x.flip(3))))
        network.eval()
        head = network.model[-1]
        for branch in (head.cv2, head.cv3, getattr(head, "cv4", ())):
            for level in branch:
                level[-1].weight.normal_(0, level[-1].weight.shape[1] ** -0.5)
                level[-1].bias.normal_(0, 1)
    content = {"epoch": -1, "ema": None, "train_args": dict(yolo.overrides)}
    torch.save(content | {"model": copy.deepcopy(network).half()}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


@pytest.fixture
def image(test_data: Path) -> np.ndarray:
    return cv2.resize(photo(test_data, "multiface"), (320, 320))


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_outputs(ultralytics: Any, name: str, image: np.ndarray, tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    path = make(ultralytics, name, image[..., ::-1].copy(), tmp_path)
    network = torch.load(path, weights_only=False)["model"].float().eval()
    x = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        own = network(x)[0]
        exact = network.double()(x.double())[0].numpy()
    session = runtime.InferenceSession(
        graph_of_checkpoint(path), providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, {"images": x.numpy()})
    assert got.shape == exact.shape
    for columns in (slice(0, 4), slice(4, 5), slice(5, None)):
        error = np.abs(got[:, columns] - exact[:, columns]).max(initial=0)
        noise = np.abs(own.numpy()[:, columns] - exact[:, columns]).max(initial=0)
        least = MIN_PX if columns != slice(4, 5) else 1e-3
        assert error <= max(MAX_TIMES * noise, least)
    assert len(Checkpoint(path).content["model"].state["names"]) == 1


@pytest.mark.parametrize("name", ["yolov8n-pose", "yolov8n"])
def test_the_same_faces(
    ultralytics: Any, name: str, image: np.ndarray, test_data: Path, tmp_path: Path
):
    """Letterbox, colours, decoding and suppression too: as `yolo predict` gives them."""
    path = make(ultralytics, name, image[..., ::-1].copy(), tmp_path)
    root = make_pack(tmp_path, test_data / "models" / "mobilefacenet.onnx")
    (tmp_path / "bbox").mkdir()
    shutil.copy(path, tmp_path / "bbox" / "face.pt")
    app = load_face_analysis(
        model_pack="pack",
        backend="onnxruntime",
        device="cpu",
        extra_roots=[root],
        detector="bbox/face.pt",
        detector_folders={"bbox": [tmp_path / "bbox"]},
        det_size=320,
    )
    whole = photo(test_data, "multiface")
    boxes, landmarks = app.det_model.detect(whole)
    (result,) = ultralytics.YOLO(str(path)).predict(
        whole, imgsz=320, conf=0.25, iou=0.7, verbose=False, device="cpu", max_det=5000
    )
    expected = result.boxes.xyxy.numpy()
    assert len(boxes) == len(expected) > 5
    assert np.abs(boxes[:, :4] - expected).max() < 1
    assert np.abs(boxes[:, 4] - result.boxes.conf.numpy()).max() < 1e-3
    if landmarks is not None:
        assert np.abs(landmarks - result.keypoints.xy.numpy()).max() < 1
