"""PRelu written out gives what PRelu gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.decompose_prelu import write_out_prelu
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from tests.backends.onnx_graphs.small_graphs import model_of

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")

#: What training leaves: mostly between 0 and 1, some below and above, and the borders themselves.
SLOPES = np.array([0.25, 0.9, -0.4, 1.7, 0.0, 1.0, -1.0, 40.0], dtype=np.float32)


def activated(slope: np.ndarray, *, again: bool = False) -> Any:
    """A convolution to 8 channels and PRelu behind it, and another one with the same slope."""
    random = np.random.default_rng(0)
    constants = {"w": random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32), "slope": slope}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["x"], pads=[1] * 4),
        helper.make_node("PRelu", ["x", "slope"], ["y"]),
    ]
    if again:
        nodes.append(helper.make_node("Sub", ["y", "x"], ["d"]))
        nodes.append(helper.make_node("PRelu", ["d", "slope"], ["z"]))
    outputs = ["z" if again else "y"]
    return model_of(nodes, constants, [1, 3, "h", "w"], outputs, [[1, 8, "h", "w"]], 13)


def written_out(model: Any) -> tuple[Any, int]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    replaced = write_out_prelu(copy)
    onnx.checker.check_model(copy)
    return copy, replaced


def answer(model: Any) -> torch.Tensor:
    images = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (result,) = Network(graph_of(model, "activated")).eval()(images)
    return result


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("again", [False, True])
def test_gives_the_same_for_every_slope(again: bool):
    model = activated(SLOPES.reshape(8, 1, 1), again=again)
    plain, replaced = written_out(model)
    assert replaced == 1 + again
    assert "PRelu" not in operators(plain)
    assert operators(plain)["Conv"] == 1 + 2 * replaced and operators(plain)["Relu"] == replaced
    names = [tensor.name for tensor in plain.graph.initializer]
    assert "slope" not in names and len(names) == len(set(names))
    torch.testing.assert_close(answer(plain), answer(model), rtol=1e-5, atol=1e-6)


def test_a_slope_that_is_listed_among_the_inputs_goes_from_there_too():
    # As exporters did before version 4 of the format.
    model = activated(SLOPES.reshape(8, 1, 1))
    model.graph.input.append(helper.make_tensor_value_info("slope", 1, [8, 1, 1]))
    plain, _ = written_out(model)
    assert [value.name for value in plain.graph.input] == ["image"]


def test_what_is_positive_stays_to_the_bit():
    model = activated(SLOPES.reshape(8, 1, 1))
    positive = answer(activated(np.zeros((8, 1, 1), dtype=np.float32))) > 0
    assert positive.sum() > 1000
    assert torch.equal(answer(written_out(model)[0])[positive], answer(model)[positive])


@pytest.mark.parametrize(
    "slope",
    [
        np.full((1,), 0.3, dtype=np.float32),
        np.full((1, 1, 1), 0.3, dtype=np.float32),
        np.full((8, 20, 24), 0.3, dtype=np.float32),
    ],
    ids=["one", "one of three axes", "one a pixel"],
)
def test_other_slopes_are_left_alone(slope: np.ndarray):
    model = activated(slope)
    assert written_out(model) == (model, 0)


def test_slopes_that_are_worked_out_are_left_alone():
    model = activated(SLOPES.reshape(8, 1, 1))
    model.graph.node.insert(1, helper.make_node("Abs", ["slope"], ["bent"]))
    next(node for node in model.graph.node if node.op_type == "PRelu").input[1] = "bent"
    assert written_out(model) == (model, 0)


def test_half_precision_is_left_alone():
    model = activated(SLOPES.reshape(8, 1, 1))
    for tensor in model.graph.initializer:
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert written_out(model) == (model, 0)
