"""A rewritten graph gives for a batch what the original gives image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.batch_axis import with_batch_axis
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from tests.backends.onnx_graphs.small_graphs import detector, embedder, in_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DETECTORS = {
    "2-D, 9 outputs, open size": {},
    "2-D, 6 outputs": {"outputs": 6},
    "2-D, 10 outputs": {"outputs": 10},
    "2-D, 15 outputs": {"outputs": 15},
    "2-D, fixed size": {"size_hw": (128, 256)},
    "3-D": {"rank": 3},
    "3-D, 15 outputs": {"rank": 3, "outputs": 15},
    "3-D, fixed size": {"rank": 3, "size_hw": (128, 256)},
    "shapes by nodes": {"shape_as_node": True},
    "opset 13": {"opset": 13},
    "opset 17, 3-D": {"opset": 17, "rank": 3},
}
EMBEDDERS = ("flatten", "reshape_baked", "reshape_open", "batch_norm")


def in_torch(model: Any, images: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        return [
            output.numpy() for output in Network(graph_of(model, "small"))(torch.tensor(images))
        ]


def random_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(3, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("run", [in_onnxruntime, in_torch])
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name: str, run) -> None:
    original = detector(**DETECTORS[name])
    rewritten = with_batch_axis(original)
    onnx.checker.check_model(rewritten, full_check=True)
    images = random_images(128, 256)
    singles = [in_onnxruntime(original, image[None]) for image in images]
    for number, got in enumerate(run(rewritten, images)):
        assert got.ndim == 3 and len(got) == 3
        for place, single in enumerate(singles):
            want = single[number].reshape(got[place].shape)
            np.testing.assert_allclose(got[place], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", [in_onnxruntime, in_torch])
@pytest.mark.parametrize("tail", EMBEDDERS)
def test_embedders(tail: str, run) -> None:
    original = embedder(tail)
    rewritten = with_batch_axis(original)
    onnx.checker.check_model(rewritten, full_check=True)
    images = random_images(112, 112)
    singles = np.concatenate([in_onnxruntime(original, image[None])[0] for image in images])
    (got,) = run(rewritten, images)
    np.testing.assert_allclose(got, singles, rtol=1e-4, atol=1e-5)


def test_declared_shapes_lead_with_the_batch() -> None:
    rewritten = with_batch_axis(detector())
    for value in [*rewritten.graph.input, *rewritten.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [len(o.type.tensor_type.shape.dim) for o in rewritten.graph.output] == [3] * 9
    assert rewritten.graph.output[3].type.tensor_type.shape.dim[2].dim_value == 4


def test_the_original_is_left_alone() -> None:
    original = detector()
    before = original.SerializeToString()
    with_batch_axis(original)
    assert original.SerializeToString() == before
