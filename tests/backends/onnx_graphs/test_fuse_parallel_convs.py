"""Convolutions that read the same features become one, to the same numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.fuse_parallel_convs import join_parallel_convolutions
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from tests.backends.onnx_graphs.small_graphs import model_of

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")


def heads(channels: list[int], scaled: tuple[int, ...] = (), **odd: dict[str, Any]) -> Any:
    """Convolutions of 8 features side by side, some multiplied by a number behind.

    Args:
        channels: What each gives.
        scaled: Which of them are multiplied.
        odd: By name (`h0`, `h1`...), attributes in which one differs.
    """
    random = np.random.default_rng(0)
    constants = {"w": random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["image", "w"], ["x"], pads=[1] * 4)]
    outputs = []
    for number, count in enumerate(channels):
        name = f"h{number}"
        attributes = {"pads": [1] * 4, "group": 1, **odd.get(name, {})}
        shape = (count, 8 // attributes["group"], 3, 3)
        constants[f"k{name}"] = random.normal(0, 0.3, shape).astype(np.float32)
        constants[f"b{name}"] = random.normal(0, 0.3, count).astype(np.float32)
        conv_name = f"{name}_conv" if number in scaled else name
        nodes.append(
            helper.make_node("Conv", ["x", f"k{name}", f"b{name}"], [conv_name], **attributes)
        )
        if number in scaled:
            constants[f"s{name}"] = np.array(0.37 + number, dtype=np.float32)
            nodes.append(helper.make_node("Mul", [conv_name, f"s{name}"], [name]))
        outputs.append(name)
    shapes = [[1, count, "h", "w"] for count in channels]
    return model_of(nodes, constants, [1, 3, "h", "w"], outputs, shapes, 13)


def joined(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    join_parallel_convolutions(copy)
    onnx.checker.check_model(copy)
    return copy


def outputs_of(model: Any) -> list[torch.Tensor]:
    images = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return list(Network(graph_of(model, "heads")).eval()(images))


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("scaled", [(), (1,), (0, 2)])
def test_small_heads_become_one_and_give_the_same(scaled: tuple[int, ...]):
    model = heads([2, 8, 20], scaled)
    one = joined(model)
    assert operators(one) == {"Conv": 2, "Slice": 3}
    read = {name for node in one.graph.node for name in node.input}
    assert all(tensor.name in read for tensor in one.graph.initializer), "nothing is there twice"
    for got, wanted in zip(outputs_of(one), outputs_of(model), strict=True):
        assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5)


def test_full_heads_are_left_alone():
    model = heads([16, 32, 16])
    assert joined(model) == model


@pytest.mark.parametrize(
    "odd", [{"pads": [2] * 4}, {"strides": [2, 2]}, {"group": 2}, {"dilations": [2, 2]}], ids=str
)
def test_what_works_otherwise_is_left_out(odd: dict[str, Any]):
    model = heads([2, 8, 20], h1=odd)
    one = joined(model)
    assert operators(one)["Conv"] == 3 and operators(one)["Slice"] == 2
    for got, wanted in zip(outputs_of(one), outputs_of(model), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_a_factor_that_is_no_single_number_stays():
    model = heads([2, 8], (1,))
    for tensor in list(model.graph.initializer):
        if tensor.name == "sh1":
            factors = np.random.default_rng(1).random((8, 1, 1)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(factors, "sh1"))
    one = joined(model)
    assert operators(one)["Mul"] == 1 and operators(one)["Slice"] == 2
    for got, wanted in zip(outputs_of(one), outputs_of(model), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_what_others_read_before_the_factor_is_still_there():
    model = heads([2, 8], (1,))
    model.graph.output.append(helper.make_tensor_value_info("h1_conv", 1, [1, 8, "h", "w"]))
    one = joined(model)
    assert operators(one)["Mul"] == 1
    for got, wanted in zip(outputs_of(one), outputs_of(model), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)
