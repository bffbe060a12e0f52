"""Networks that give something else than their task needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.pending import read_together
from fastface.models.detection import FaceDetector
from fastface.models.opening import open_task
from fastface.models.outputs import values_a_face
from fastface.utils.detectors.scrfd import decode_scrfd
from fastface.utils.errors import ModelError
from fastface.utils.images import Images
from fastface.utils.letterbox import Canvas
from tests.models.fake_network import (
    FakeSession,
    faces_in,
    model_of,
    pack_of,
    photo,
)

WRONG = {
    "recognition": [(0,), (5, 7), (3, 512)],
    "genderage": [(4, 2), (4, 0)],
    "landmark_2d_106": [(4, 100), (4, 213)],
    "landmark_3d_68": [(4, 203), (4, 3308)],
    "verification": [(3, 1), (0, 1)],
}


@pytest.mark.parametrize(
    ("task", "shape"), [(task, shape) for task, shapes in WRONG.items() for shape in shapes]
)
def test_a_head_with_other_results(task: str, shape: tuple[int, ...]):
    photos = [photo(1), photo(2, 150, 300)]
    model = model_of(task, 96)
    session = FakeSession(lambda crops: np.zeros(shape, np.float32))
    head = open_task(pack_of(model), model, session)
    images = Images.from_comfy([torch.from_numpy(p.copy())[None] for p in photos])
    with pytest.raises(ModelError, match=rf"{task}\.onnx gave .* for 4 faces, expected one"):
        head.describe(images, faces_in(photos))  # type: ignore[union-attr]


def test_several_results():
    with pytest.raises(ModelError, match="expected one output"):
        values_a_face([torch.zeros(1, 4), torch.zeros(1, 4)], model_of("recognition", 112), 1)


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("change", ["rank", "values", "anchors", "images"])
def test_a_detector_with_other_results(place: int, change: str):
    outputs = [
        torch.zeros(2, (64 // stride) ** 2 * 2, values)
        for values in (1, 4, 10)
        for stride in (8, 16, 32)
    ]
    decode_scrfd(outputs, (64, 64), 0.5)
    changed = {
        "rank": lambda x: x[0],
        "values": lambda x: x[..., :0],
        "anchors": lambda x: x[:, 1:],
        "images": lambda x: x[:1],
    }
    outputs[place] = changed[change](outputs[place])
    with pytest.raises(ModelError, match="expected"):
        decode_scrfd(outputs, (64, 64), 0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("kind", [1, 2])
def test_a_detector_whose_places_are_none(kind: int, value: float):
    model = replace(model_of("detection", None), input_shape=(1, 3, None, None))

    class Session(FakeSession):
        def run(self, x: torch.Tensor, canvas: Canvas | None = None) -> tuple[torch.Tensor, ...]:
            outputs = [
                torch.full((len(x), (64 // stride) ** 2 * 2, values), 0.6 if values == 1 else 1.0)
                for values in (1, 4, 10)
                for stride in (8, 16, 32)
            ]
            outputs[3 * kind][0, 5] = value
            return tuple(outputs)

    detector = FaceDetector(pack_of(model), model, Session(None))
    (batch,) = Images.from_bgr(photo(1, 64, 64)).chunks()
    found = detector.detect(batch, DetectionOptions(((64, 64),)))
    with pytest.raises(ModelError, match=r"detection\.onnx gave boxes or landmarks that are NaN"):
        found.resolve(read_together([found.host_values])[0])


def test_a_head_whose_values_are_none():
    with pytest.raises(ModelError, match="NaN or infinite"):
        values_a_face([torch.tensor([[1.0, float("nan")]])], model_of("recognition", 112), 1)
