"""On a GPU: the CPU's faces, and no pixel comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastface.backends.facenet import FacenetBackend
from fastface.backends.facenet_networks.networks import open_mtcnn
from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.backends.interfaces import DetectionOptions
from fastface.models.facenet.mtcnn import Mtcnn
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from tests.parity import mtcnn_images

pytest.importorskip("cv2")
pytest.importorskip("facenet_pytorch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]


@pytest.fixture(scope="module")
def frames(test_data: Path) -> ImageBatch:
    pixels = mtcnn_images.frames(test_data / "images" / "video.mp4", every=13)
    (batch,) = Images.from_comfy(torch.from_numpy(pixels)).chunks()
    return batch


def detect(batch: ImageBatch, device: str) -> Faces:
    (pack, *_) = FacenetBackend().packs()
    detector = Mtcnn(open_mtcnn(pack.folder, torch.device(device), MtcnnParameters()))
    with torch.no_grad():
        return detector.detect(batch.to(torch.device(device)), DetectionOptions(threshold=0.0))


def test_the_faces_are_those_of_the_cpu(frames: ImageBatch):
    expected, got = detect(frames, "cpu"), detect(frames, "cuda")
    assert got.device.type == "cuda"
    got = got.to("cpu")
    assert got.per_image() == expected.per_image() and len(expected) > len(frames.positions)
    for image in range(len(frames.positions)):
        mine, theirs = got.of_image(image), expected.of_image(image)
        order = torch.cdist(mine.boxes, theirs.boxes).argmin(1)
        assert mine.landmarks is not None and theirs.landmarks is not None
        torch.testing.assert_close(mine.boxes, theirs.boxes[order], atol=1, rtol=0)
        torch.testing.assert_close(mine.landmarks, theirs.landmarks[order], atol=1, rtol=0)
        torch.testing.assert_close(mine.scores, theirs.scores[order], atol=1e-3, rtol=0)


def test_no_pixel_leaves_the_device(frames: ImageBatch, tmp_path: Path):
    batch = frames.to(torch.device("cuda"))
    detect(batch, "cuda")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        faces = detect(batch, "cuda")
        torch.cuda.synchronize()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    copies = [event["args"]["bytes"] for event in events if "DtoH" in event.get("name", "")]
    # Counts of boxes, one number or one for each image and level.
    assert len(faces) and copies and max(copies) <= 8 * 64 * len(batch.positions)
