"""The detector finds what insightface's SCRFD finds in the same outputs, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions, Detector
from fastface.backends.pending import Pending, read_together
from fastface.models.detection import FaceDetector, Reach
from fastface.models.opening import open_task
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from fastface.utils.letterbox import Canvas
from tests.models.fake_network import FakeSession, model_of, pack_of
from tests.utils.upstream_scrfd import made_up_outputs, upstream_scrfd

pytest.importorskip("insightface")
pytest.importorskip("cv2")

SIZE_HW = (90, 150)


def image_number(number: int) -> np.ndarray:
    """`[90,150,3]` uint8 BGR; the network tells it by the grey level of its first pixel."""
    return np.full((*SIZE_HW, 3), 10 * number, np.uint8)


def outputs_of(blob: np.ndarray, count: int) -> list[np.ndarray]:
    """What the made-up network gives for one canvas `[3,h,w]`: `[A,1]`, `[A,4]`, `[A,10]`."""
    number = round((float(blob[0, 0, 0]) * 128 + 127.5) / 10)
    random = np.random.default_rng([number, *blob.shape[1:]])
    outputs = [output[0] for output in made_up_outputs(random, count, blob.shape[1:], 1)]
    levels = 3 if count in (6, 9) else 5
    for scores in outputs[:levels]:
        # Only a few pass the threshold, and none at all in the image of grey level 0.
        scores *= (random.random(scores.shape) < 0.2) & (number > 0)
    return outputs


class BatchSession(FakeSession):
    def __init__(self, count: int) -> None:
        super().__init__(None)
        self.count = count

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        self.inputs.append(x)
        singles = [outputs_of(blob, self.count) for blob in x.numpy()]
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*singles, strict=True))


class OneImageSession:
    """As insightface's SCRFD looks at an ONNX Runtime session."""

    def __init__(self, upstream_session: Any, count: int) -> None:
        self.get_inputs, self.get_outputs = (
            upstream_session.get_inputs,
            upstream_session.get_outputs,
        )
        self.count = count

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return outputs_of(feeds["input"][0], self.count)


def upstream_detect(
    count: int, image: np.ndarray, options: DetectionOptions
) -> tuple[np.ndarray, np.ndarray | None]:
    detector = upstream_scrfd([np.zeros((1, 1), np.float32)] * count, options.nms_threshold)
    detector.session = OneImageSession(detector.session, count)
    return detector.detect(image, list(options.sizes_wh), det_thresh=options.threshold)


def detect(count: int, numbers: list[int], options: DetectionOptions, **model: Any) -> Faces:
    described = model_of("detection", model.get("side"))
    detector = open_task(pack_of(described), described, BatchSession(count))
    assert isinstance(detector, Detector)
    rgb = np.stack([image_number(n)[..., ::-1] for n in numbers] or [np.zeros((*SIZE_HW, 3))])
    images = Images.from_comfy(torch.from_numpy(rgb.astype(np.uint8)))
    (batch,) = images.chunks()
    faces = found_by(detector, batch, options)
    assert faces is not None
    return faces


def found_by(detector: Detector, batch: ImageBatch, options: DetectionOptions) -> Faces | None:
    found = detector.detect(batch, options)
    assert isinstance(found, Pending)
    return found.resolve(read_together([found.host_values])[0])


@pytest.mark.parametrize("count", [6, 9, 10, 15])
@pytest.mark.parametrize("sizes", [((128, 128),), ((128, 128), (256, 256)), ((256, 128),)], ids=str)
def test_same_faces_as_insightface(count: int, sizes: tuple[tuple[int, int], ...]):
    options = DetectionOptions(sizes, 0.8, 0.4)
    numbers = [3, 0, 7, 3]
    faces = detect(count, numbers, options)
    assert faces.image_sizes == (SIZE_HW,) * 4
    assert faces.image_index.tolist() == sorted(faces.image_index.tolist())
    for image, number in enumerate(numbers):
        found, landmarks = upstream_detect(count, image_number(number), options)
        one = faces.of_image(image)
        assert (len(found) > 3) == (number > 0)
        assert (one.scores.numpy() == found[:, 4]).all() and len(one) == len(found)
        assert (one.boxes.numpy() == found[:, :4]).all()
        if count in (6, 10):
            assert one.landmarks is None and landmarks is None
        else:
            assert one.landmarks is not None
            assert (one.landmarks.numpy() == landmarks).all()


def test_no_face_in_any_image():
    faces = detect(9, [0, 0], DetectionOptions(((128, 128),)))
    assert len(faces) == 0 and faces.per_image() == [0, 0]
    assert faces.landmarks is not None and faces.landmarks.shape == (0, 5, 2)


def test_a_graph_of_fixed_size_gets_that_size():
    faces = detect(9, [5], DetectionOptions(((640, 640),), 0.8), side=128)
    expected = detect(9, [5], DetectionOptions(((128, 128),), 0.8))
    assert len(faces) and torch.equal(faces.boxes, expected.boxes)


def test_smaller_looks_are_drawn_into_the_only_size_that_a_graph_takes():
    described = model_of("detection", 256)
    session = BatchSession(9)
    detector = FaceDetector(pack_of(described), described, session)
    (batch,) = Images.from_comfy(torch.full((1, *SIZE_HW, 3), 0.5)).chunks()
    found_by(detector, batch, DetectionOptions(((128, 128), (256, 256), (640, 640))))
    assert [tuple(x.shape) for x in session.inputs] == [(1, 3, 256, 256)] * 2
    small, whole = ((x[0, 0] > described.black).nonzero().amax(0) + 1 for x in session.inputs)
    # 150 pixels of width become 128 and 256.
    assert small.tolist() == [76, 128] and whole.tolist() == [153, 256]


def test_thresholds_are_those_of_the_options():
    def found(threshold: float, nms_threshold: float) -> int:
        return len(detect(9, [5], DetectionOptions(((128, 128),), threshold, nms_threshold)))

    assert found(0.9, 0.4) < found(0.8, 0.4) < found(0.8, 0.9)


@pytest.mark.parametrize("first", [(20, 64), (512, 1), (20, 1), (512, 64)])
def test_looks_wider_until_it_has_seen_all(first: tuple[int, int]):
    options = DetectionOptions(((128, 128), (256, 256)), 0.5, 0.4)
    expected = detect(9, [3, 0, 7], options)
    described = model_of("detection", None)
    detector = FaceDetector(pack_of(described), described, BatchSession(9))
    detector._reach = Reach(*first)
    pixels = torch.from_numpy(np.stack([image_number(n)[..., ::-1] for n in (3, 0, 7)]))
    (batch,) = Images.from_comfy(pixels).chunks()
    tries = [found_by(detector, batch, options)]
    while tries[-1] is None:
        tries.append(found_by(detector, batch, options))
    assert (len(tries) == 1) == (first == (512, 64)) and len(tries) < 6
    assert torch.equal(tries[-1].boxes, expected.boxes)
    assert torch.equal(tries[-1].image_index, expected.image_index)
    # What it has learned it keeps.
    assert found_by(detector, batch, options) is not None
