"""Convolutions that do what follows them, in the graph and by oneDNN: as one after the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs import onednn_convolution
from fastface.backends.onnx_graphs.fuse_convolutions import FUSED_CONV, fuse_convolutions
from fastface.backends.onnx_graphs.graph import Graph, graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.onnx_graphs.onednn_convolution import pack_weights, why_not_onednn
from fastface.utils.cores import why_not_native
from tests.backends.onnx_graphs.small_graphs import model_of

helper = pytest.importorskip("onnx.helper")


def conv(source: str, result: str, weight: str = "same", **attributes: Any) -> Any:
    attributes.setdefault("pads", [1] * 4)
    return helper.make_node("Conv", [source, weight, "bias"], [result], **attributes)


def node(op: str, *names: str, **attributes: Any) -> Any:
    *inputs, output = names
    return helper.make_node(op, inputs, [output], **attributes)


def graph(*nodes: Any, outputs: tuple[str, ...] = ("y",), opset: int = 13) -> Graph:
    """Some nodes behind a first convolution, which makes `x`, of 8 channels, of the image."""
    random = np.random.default_rng(0)
    constants = {
        "first": random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "same": random.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
        "grouped": random.normal(0, 0.3, (8, 2, 3, 3)).astype(np.float32),
        "bias": random.normal(0, 0.5, 8).astype(np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(1, np.float32),
        "scalars": random.normal(0, 1, (1, 8, 1, 1)).astype(np.float32),
    }
    image = helper.make_node("Conv", ["image", "first"], ["x"], pads=[1] * 4)
    shape = [2, 8, "h", "w"]
    model = model_of(
        [image, *nodes], constants, [2, 3, "h", "w"], list(outputs), [shape] * len(outputs), opset
    )
    return graph_of(model, "small")


RESIDUAL = (
    conv("x", "a"),
    node("Relu", "a", "b"),
    conv("b", "c"),
    node("Add", "c", "x", "d"),
    node("Relu", "d", "y"),
)

CASES = {
    "a residual block": (graph(*RESIDUAL), {FUSED_CONV: 3}),
    "the other way round": (
        graph(conv("x", "a"), node("Add", "x", "a", "b"), node("Relu", "b", "y")),
        {FUSED_CONV: 2},
    ),
    "two that are added up": (
        graph(conv("x", "a"), conv("x", "b"), node("Add", "a", "b", "c"), node("Relu", "c", "y")),
        {FUSED_CONV: 3},
    ),
    "limits": (
        graph(conv("x", "a"), node("Clip", "a", "low", "high", "y")),
        {FUSED_CONV: 2},
    ),
    "limits of old": (
        graph(conv("x", "a"), node("Clip", "a", "y", min=0.0, max=1.0), opset=10),
        {FUSED_CONV: 2},
    ),
    "one limit": (graph(conv("x", "a"), node("Clip", "a", "low", "y")), {FUSED_CONV: 2, "Clip": 1}),
    "a slope": (
        graph(conv("x", "a"), node("LeakyRelu", "a", "y", alpha=0.2)),
        {FUSED_CONV: 2},
    ),
    "limits of a sum": (
        graph(conv("x", "a"), node("Add", "a", "x", "b"), node("Clip", "b", "low", "high", "y")),
        {FUSED_CONV: 2, "Clip": 1},
    ),
    "groups, steps and gaps": (
        graph(
            conv("x", "a", "grouped", group=4, strides=[2, 2], dilations=[2, 2], pads=[2] * 4),
            node("Relu", "a", "y"),
        ),
        {FUSED_CONV: 2},
    ),
    "uneven padding": (
        graph(conv("x", "a", pads=[0, 0, 1, 1]), node("Relu", "a", "y")),
        {FUSED_CONV: 1, "Conv": 1, "Relu": 1},
    ),
    "sums that are wanted too": (
        graph(conv("x", "a"), node("Relu", "a", "y"), outputs=("a", "y")),
        {FUSED_CONV: 2, "Relu": 1},
    ),
    "sums that others read": (
        graph(conv("x", "a"), node("Relu", "a", "b"), node("Mul", "a", "b", "y")),
        {FUSED_CONV: 2, "Relu": 1, "Mul": 1},
    ),
    "a number a channel": (
        graph(conv("x", "a"), node("Add", "a", "scalars", "y")),
        {FUSED_CONV: 2, "Add": 1},
    ),
    "one number an image and channel": (
        graph(
            conv("x", "a"),
            node("GlobalAveragePool", "x", "m"),
            node("Add", "a", "m", "b"),
            node("Relu", "b", "y"),
        ),
        {FUSED_CONV: 2, "GlobalAveragePool": 1},
    ),
}


def skip_where_onednn_is_not_to_be_had() -> None:
    """Not where the processor and torch's build have all that it takes: there it has to work."""
    reason = why_not_onednn()
    if reason and why_not_native("bf16") is None and torch.backends.mkldnn.is_available():
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("name", CASES)
def test_what_is_merged(name: str):
    graph, left = CASES[name]
    assert Counter(node.op for node in fuse_convolutions(graph).nodes) == left


@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_one_after_the_other(name: str):
    skip_where_onednn_is_not_to_be_had()
    graph, _ = CASES[name]
    x = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        exact = Network(graph)(x.float())
        plain = Network(graph).bfloat16()(x)
        network = Network(fuse_convolutions(graph)).bfloat16()
        pack_weights(network)
        fused = network(x)
    for want, one_by_one, got in zip(exact, plain, fused, strict=True):
        assert got.shape == want.shape and got.dtype == torch.bfloat16
        torch.testing.assert_close(got.float(), want, atol=0.06, rtol=0.02)
        # Rounded less often than one after the other.
        error = (got.float() - want).square().mean()
        assert error <= 1.2 * (one_by_one.float() - want).square().mean()


def test_a_torch_without_the_operators_says_so(monkeypatch: pytest.MonkeyPatch):
    why_not_onednn.cache_clear()
    monkeypatch.setattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)
    try:
        assert "does not run oneDNN's convolutions in bf16" in str(why_not_onednn())
    finally:
        why_not_onednn.cache_clear()


def test_a_torch_with_other_answers_is_not_believed(monkeypatch: pytest.MonkeyPatch):
    skip_where_onednn_is_not_to_be_had()
    why_not_onednn.cache_clear()
    monkeypatch.setitem(onednn_convolution._ACTIVATIONS, "Clip", "none")
    try:
        assert "gives other sums by oneDNN: Clip" in str(why_not_onednn())
    finally:
        why_not_onednn.cache_clear()
