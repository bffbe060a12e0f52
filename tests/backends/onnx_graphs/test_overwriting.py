"""Results are written over values that nothing reads any more, and over no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from tests.backends.onnx_graphs.small_graphs import in_onnxruntime, model_of

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")
pytest.importorskip("onnxruntime")

CHANNELS = 3


def random_graph(seed: int) -> Any:
    """Layers that read any of the values before them, several times or never; all of one shape."""
    random = np.random.default_rng(seed)
    constants = {
        "kernel": random.normal(0, 0.4, (CHANNELS, CHANNELS, 1, 1)).astype(np.float32),
        "offset": random.normal(0, 0.4, (1, CHANNELS, 6, 8)).astype(np.float32),
        "slope": random.normal(0, 0.4, (CHANNELS, 1, 1)).astype(np.float32),
        "low": np.float32(-0.3),
        "high": np.float32(0.6),
        "shape": np.array([0, CHANNELS, 6, 8], dtype=np.int64),
    }
    values = ["image"]
    nodes = []

    def any_value() -> str:
        recent = values[-3:]
        return recent[random.integers(len(recent))]

    for number in range(14):
        op, inputs, attributes = [
            ("Conv", [any_value(), "kernel"], {}),
            ("Relu", [any_value()], {}),
            ("Relu", [any_value()], {}),
            ("Clip", [any_value(), "low", "high"], {}),
            ("LeakyRelu", [any_value()], {"alpha": 0.2}),
            ("Add", [any_value(), any_value()], {}),
            ("Add", [any_value(), any_value()], {}),
            ("Add", ["offset", any_value()], {}),
            ("Add", [any_value(), "slope"], {}),
            ("Identity", [any_value()], {}),
            ("Reshape", [any_value(), "shape"], {}),
            ("Transpose", [any_value()], {"perm": [0, 1, 2, 3]}),
        ][random.integers(12)]
        nodes.append(helper.make_node(op, inputs, [f"v{number}"], **attributes))
        values.append(f"v{number}")
    outputs = [values[-1], values[random.integers(1, 14)]]
    shape = [1, CHANNELS, 6, 8]
    return model_of(nodes, constants, shape, list(dict.fromkeys(outputs)), [shape] * 2, 13)


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_layers_gives_what_onnxruntime_gives(seed: int) -> None:
    model = random_graph(seed)
    network = Network(graph_of(model, "random")).eval()
    image = torch.randn(1, CHANNELS, 6, 8, generator=torch.Generator().manual_seed(seed))
    before = image.clone()
    expected = in_onnxruntime(model, image.numpy())
    with torch.inference_mode():
        for _ in range(2):  # weights that had been written over would show the second time
            for got, want in zip(network(image), expected, strict=True):
                np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-5)
    assert torch.equal(image, before)


def network_of(nodes: list[Any], outputs: list[str]) -> Network:
    constants = {"kernel": np.eye(CHANNELS, dtype=np.float32)[:, :, None, None]}
    shapes = [[1, CHANNELS, 6, 8]] * len(outputs)
    model = model_of(nodes, constants, [1, CHANNELS, 6, 8], outputs, shapes, 13)
    return Network(graph_of(model, "small")).eval()


def memory_of(network: Network) -> set[int]:
    """Where a network's outputs and the result of its first layer lie."""
    places = []
    network.layers[0].register_forward_hook(lambda *call: places.append(call[-1].data_ptr()))
    with torch.inference_mode():
        outputs = network(torch.randn(1, CHANNELS, 6, 8))
    return {places[0], *(output.data_ptr() for output in outputs)}


@pytest.mark.parametrize("op", ["Relu", "Add"])
def test_a_value_that_is_read_once_gives_its_memory_to_the_result(op: str) -> None:
    conv = helper.make_node("Conv", ["image", "kernel"], ["x"])
    inputs = ["image", "x"] if op == "Add" else ["x"]
    last = helper.make_node(op, inputs, ["y"])
    assert len(memory_of(network_of([conv, last], ["y"]))) == 1
    assert len(memory_of(network_of([conv, last], ["y", "x"]))) == 2


def test_a_value_that_is_spread_over_a_larger_one_keeps_to_itself() -> None:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[6, 8]),
        helper.make_node("Add", ["mean", "image"], ["y"]),
    ]
    image = torch.randn(1, CHANNELS, 6, 8)
    (got,) = network_of(nodes, ["y"])(image)
    torch.testing.assert_close(got, image.mean((2, 3), keepdim=True) + image)
