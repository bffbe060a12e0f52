"""Every head gives what insightface's own class gives for the same network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import Head
from fastface.models.opening import open_task
from fastface.utils.errors import ModelError
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile
from tests.models.fake_network import (
    BOXES,
    FakeNetwork,
    FakeSession,
    UpstreamSession,
    faces_in,
    model_of,
    pack_of,
    photo,
    upstream_head,
)

pytest.importorskip("insightface")
pytest.importorskip("cv2")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PHOTOS = [photo(1), photo(2, 150, 300)]


def rgb_images() -> Images:
    return Images.from_comfy([torch.from_numpy(p[..., ::-1].copy())[None] for p in PHOTOS])


def opened(
    model: ModelFile, network: Callable[[np.ndarray], np.ndarray]
) -> tuple[Head, FakeSession]:
    session = FakeSession(network)
    head = open_task(pack_of(model), model, session)
    assert isinstance(head, Head) and head.task == model.task and head.runs_on is session.runs_on
    return head, session


def upstream_results(head: Any, photos: list[np.ndarray] = PHOTOS) -> list[Any]:
    """What `head.get` of insightface gives for each face, and the face it filled in."""
    from insightface.app.common import Face

    faces = faces_in(photos)
    results = []
    for row, (image, _) in enumerate(BOXES):
        assert faces.landmarks is not None
        face = Face(bbox=faces.boxes[row].numpy(), kps=faces.landmarks[row].numpy())
        results.append((head.get(photos[image], face), face))
    return results


@pytest.mark.parametrize("std", [127.5, 128.0])
@pytest.mark.parametrize("side", [112, 128])
def test_recognition(side: int, std: float):
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    network = FakeNetwork(64)
    head, session = opened(model_of("recognition", side, std=std), network)
    upstream = upstream_head(ArcFaceONNX, network, side, input_mean=127.5, input_std=std)
    fields = head.describe(rgb_images(), faces_in(PHOTOS))
    assert set(fields) == {"embeddings"}
    got = fields["embeddings"].numpy()
    expected = np.stack([embedding for embedding, _ in upstream_results(upstream)])
    assert got.shape == (4, 64) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert [tuple(x.shape) for x in session.inputs] == [(4, 3, side, side)]


def test_recognition_needs_landmarks():
    head, session = opened(model_of("recognition", 112), FakeNetwork(64))
    faces = faces_in(PHOTOS).with_fields(landmarks=None)
    with pytest.raises(ModelError, match=r"gives no landmarks.*choose a pack whose detector has"):
        head.describe(rgb_images(), faces)
    assert session.inputs == []


@pytest.mark.parametrize("mean, std", [(127.5, 128.0), (0.0, 1.0)])
@pytest.mark.parametrize(
    "task, outputs, dimensions, count",
    [("landmark_2d_106", 212, 2, 106), ("landmark_3d_68", 3309, 3, 68)],
)
def test_landmarks(task: str, outputs: int, dimensions: int, count: int, mean: float, std: float):
    from insightface.data import get_object
    from insightface.model_zoo.landmark import Landmark

    network = FakeNetwork(outputs, spread=0.5 * std / 128)
    head, _ = opened(model_of(task, 192, mean=mean, std=std), network)
    upstream = upstream_head(
        Landmark,
        network,
        192,
        input_mean=mean,
        input_std=std,
        lmk_dim=dimensions,
        lmk_num=count,
        taskname=task,
        require_pose=dimensions == 3,
        mean_lmk=get_object("meanshape_68.pkl"),
    )
    fields = head.describe(rgb_images(), faces_in(PHOTOS))
    points = fields["landmarks_68" if dimensions == 3 else "landmarks_106"]
    assert points.shape == (4, count, dimensions) and points.dtype == torch.float32
    for row, (expected, face) in enumerate(upstream_results(upstream)):
        np.testing.assert_allclose(points[row].numpy(), expected, atol=0.05)
        if dimensions == 3:
            np.testing.assert_allclose(fields["pose"][row].numpy(), face["pose"], atol=0.2)
    assert set(fields) == ({"landmarks_68", "pose"} if dimensions == 3 else {"landmarks_106"})


def test_gender_and_age():
    from insightface.model_zoo.attribute import Attribute

    network = FakeNetwork(3, spread=2.0)
    head, _ = opened(model_of("genderage", 96, mean=0.0, std=1.0), lambda blob: network(blob / 255))
    upstream = upstream_head(
        Attribute,
        lambda blob: network(blob / 255),
        96,
        input_mean=0.0,
        input_std=1.0,
        taskname="genderage",
    )
    fields = head.describe(rgb_images(), faces_in(PHOTOS))
    assert fields["gender"].dtype == fields["age"].dtype == torch.int64
    results = [result for result, _ in upstream_results(upstream)]
    assert fields["gender"].tolist() == [gender for gender, _ in results]
    assert np.abs(fields["age"].numpy() - [age for _, age in results]).max() <= 1
    assert len(set(fields["age"].tolist())) == 4


@pytest.mark.parametrize(
    "outputs, gender, age",
    [((0.6, 0.4, 0.254), 0, 25), ((0.4, 0.6, 0.256), 1, 26), ((-3.0, -2.0, 0.0), 1, 0)],
)
def test_gender_and_age_of_outputs(outputs: tuple[float, ...], gender: int, age: int):
    def network(blob: np.ndarray) -> np.ndarray:
        return np.tile(np.array(outputs, np.float32), (len(blob), 1))

    head, _ = opened(model_of("genderage", 96), network)
    fields = head.describe(rgb_images(), faces_in(PHOTOS))
    assert fields["gender"].tolist() == [gender] * 4 and fields["age"].tolist() == [age] * 4


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("expansion", [1.3, 1.0])
def test_verification(dtype: str, expansion: float):
    from insightface.model_zoo.face_verifier import FaceVerifier

    network = FakeNetwork(1, spread=1.0 if dtype == "float32" else 1 / 128)
    mean_std = {"mean": 127.5, "std": 64.0} if dtype == "float32" else {"mean": 0.0, "std": 1.0}
    model = model_of("verification", 64, input_dtype=dtype, expansion=expansion, **mean_std)
    head, session = opened(model, network)
    upstream = FaceVerifier(
        "verifier.onnx",
        UpstreamSession(network, 64, "tensor(uint8)" if dtype == "uint8" else "tensor(float)"),
        expansion=expansion,
        preprocessing=mean_std if dtype == "float32" else "embedded",
    )
    got = head.describe(rgb_images(), faces_in(PHOTOS))["verification"]
    expected = [score for score, _ in upstream_results(upstream)]
    assert got.shape == (4,) and got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=5e-3)
    assert session.inputs[0].dtype == getattr(torch, dtype)


@pytest.mark.parametrize(
    "task, side, outputs",
    [
        ("recognition", 112, 64),
        ("landmark_2d_106", 192, 212),
        ("landmark_3d_68", 192, 3309),
        ("genderage", 96, 3),
        ("verification", 64, 1),
    ],
)
def test_faces_together_give_what_each_gives_alone(task: str, side: int, outputs: int):
    head, _ = opened(model_of(task, side), FakeNetwork(outputs))
    together = head.describe(rgb_images(), faces_in(PHOTOS))
    for row in range(len(BOXES)):
        alone = head.describe(rgb_images(), faces_in(PHOTOS, [row]))
        for name, values in together.items():
            torch.testing.assert_close(alone[name][0], values[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "task", ["recognition", "landmark_2d_106", "landmark_3d_68", "genderage", "verification"]
)
@pytest.mark.parametrize("shape", [(None, 3, None, None), (None, 3, 112, 96), ()])
def test_refuses_graphs_that_take_no_fixed_square(task: str, shape: tuple[int | None, ...]):
    model = ModelFile(model_of(task, 0).path, task, shape)
    with pytest.raises(ModelError, match=rf"{task}.onnx \({task}\) takes input .*a fixed square"):
        open_task(pack_of(model), model, FakeSession(None))


@pytest.mark.parametrize("task", ["", "face_swap", "landmark_2d_98"])
def test_refuses_an_unknown_task(task: str):
    model = model_of(task, 112)
    with pytest.raises(
        ModelError, match=f"got a model of task '{task}' .*expected one of .*'genderage'"
    ):
        open_task(pack_of(model), model, FakeSession(None))
