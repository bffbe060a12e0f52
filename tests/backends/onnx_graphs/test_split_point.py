"""Where graphs are cut, and that filling in an empty canvas's features changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastface.backends.onnx_graphs.graph import Graph, graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.onnx_graphs.split_graph import cut_at
from fastface.backends.onnx_graphs.split_point import ReceptiveField, SplitPoint, best_split_point
from fastface.utils.letterbox import Canvas
from tests.backends.onnx_graphs.small_graphs import model_of
from tests.utils.properties import steady

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")

BLACK = -0.7


def chain(layers: list[dict[str, Any]], tail: str = "GlobalAveragePool") -> Any:
    """A graph of convolutions and poolings, one after the other, and then what sees everything.

    Args:
        layers: Attributes of each; a `pool` of Max or Average makes it a pooling, `residual` adds
            what went in.
        tail: The operator at the end.
    """
    random = np.random.default_rng(0)
    nodes, constants, value = [], {}, "image"
    for number, layer in enumerate(layers):
        layer = dict(layer)
        pool, residual = layer.pop("pool", None), layer.pop("residual", False)
        inputs = [value]
        if not pool:
            shape = (4, 4 if number else 3, *layer["kernel_shape"])
            weight = random.normal(0, 0.3, shape)
            constants[f"w{number}"] = weight.astype(np.float32)
            inputs.append(f"w{number}")
        nodes.append(
            helper.make_node(f"{pool}Pool" if pool else "Conv", inputs, [f"l{number}"], **layer)
        )
        if residual:
            terms = [f"l{number}", value][:: -1 if number % 2 else 1]
            nodes.append(helper.make_node("Add", terms, [f"s{number}"]))
        nodes.append(
            helper.make_node("Relu", [f"{'s' if residual else 'l'}{number}"], [f"a{number}"])
        )
        value = f"a{number}"
    nodes.append(helper.make_node(tail, [value], ["end"]))
    return model_of(nodes, constants, [1, 3, "h", "w"], ["end"], [[1, 4, "y", "x"]], 13)


def conv(kernel: int = 3, stride: int = 1, pad: int = 1, dilation: int = 1, **more: Any) -> dict:
    return {
        "kernel_shape": [kernel, kernel],
        "strides": [stride, stride],
        "pads": [pad] * 4,
        **({} if "pool" in more else {"dilations": [dilation, dilation]}),
        **more,
    }


def split_point_at(graph: Graph, value: str) -> SplitPoint:
    """The cut at a value, whatever it spares."""
    from fastface.backends.onnx_graphs.split_point import _split_points

    return next(
        split_point for split_point, _, _ in _split_points(graph) if split_point.value == value
    )


def features_of(model: Any, value: str) -> Any:
    front, _ = cut_at(model, value)
    network = Network(graph_of(front, "front")).eval()
    return lambda x: network(x)[0]


KERNELS, UP_TO_TWO = st.sampled_from([1, 3, 5]), st.integers(1, 2)
LAYERS = st.lists(
    st.one_of(
        st.builds(conv, KERNELS, UP_TO_TWO, st.integers(0, 2), UP_TO_TWO),
        st.just(conv(residual=True)),
        st.builds(
            lambda kernel, stride, pool: conv(kernel, stride, kernel // 2, pool=pool),
            st.sampled_from([2, 3]),
            st.integers(1, 2),
            st.sampled_from(["Max", "Average"]),
        ),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@steady(60)
@given(LAYERS, st.integers(1, 30), st.integers(1, 40))
def test_features_filled_in_are_those_of_the_whole_canvas(
    layers: list[dict[str, Any]], height: int, width: int
):
    layers = [conv(1), *layers]  # a residual needs as many channels as it adds
    model = chain(layers)
    value = f"a{len(layers) - 1}"
    split_point = split_point_at(graph_of(model, "chain"), value)
    canvas = Canvas((height, width), (height, width), (96, 128))
    part_hw = split_point.part_hw(canvas)
    random = torch.Generator().manual_seed(height)
    images = torch.full((2, 3, 96, 128), BLACK)
    images[:, :, :height, :width] = torch.rand(2, 3, height, width, generator=random)
    front = features_of(model, value)
    with torch.inference_mode():
        whole, empty = front(images), front(torch.full((1, 3, 96, 128), BLACK))
        part = front(images[:, :, : part_hw[0], : part_hw[1]])
        filled = split_point.completed(part, empty, canvas)
    assert filled.shape == whole.shape
    assert torch.allclose(filled, whole, atol=1e-5)
    rows, columns = split_point.filled(canvas)
    margins = whole - empty
    assert margins[:, :, rows:].abs().sum() + margins[..., columns:].abs().sum() < 1e-3


@pytest.mark.parametrize(
    "layers, window",
    [
        ([conv(3)], ReceptiveField(1, -1, 1)),
        ([conv(3, 2)], ReceptiveField(2, -1, 1)),
        ([conv(3, 2), conv(3)], ReceptiveField(2, -3, 3)),
        ([conv(3, 1, 2, 2)], ReceptiveField(1, -2, 2)),
        ([conv(5, 2, 0)], ReceptiveField(2, 0, 4)),
        ([conv(3, 2), conv(3, 2, 1, pool="Max"), conv(3, residual=True)], ReceptiveField(4, -7, 7)),
        ([conv(2, 2, 0, pool="Average")], ReceptiveField(2, 0, 1)),
    ],
)
def test_windows_are_what_is_seen_and_no_more(layers: list[dict[str, Any]], window: ReceptiveField):
    model = chain(layers)
    value = f"a{len(layers) - 1}"
    split_point = split_point_at(graph_of(model, "chain"), value)
    assert split_point.rows == split_point.columns == window
    front = features_of(model, value)
    seen = set()
    with torch.inference_mode():
        for pixel in range(64):
            image = torch.zeros(1, 3, 64, 64)
            image[:, :, pixel] = 100.0
            rows = (front(image) - front(torch.zeros(1, 3, 64, 64))).abs().amax((0, 1, 3))
            seen |= {(int(row), pixel) for row in rows.nonzero()}
    middle = 40 // window.stride
    offsets = {pixel - middle * window.stride for row, pixel in seen if row == middle}
    assert (min(offsets), max(offsets)) == (window.first, window.last)


def test_sides_of_unlike_padding_are_told_apart():
    layer = {"kernel_shape": [3, 1], "strides": [2, 1], "pads": [0, 0, 2, 0], "dilations": [1, 1]}
    split_point = split_point_at(graph_of(chain([layer]), "chain"), "a0")
    assert (split_point.rows, split_point.columns) == (
        ReceptiveField(2, 0, 2),
        ReceptiveField(1, 0, 0),
    )


def test_a_part_is_no_larger_than_its_canvas_and_never_nearly_all_of_it():
    split_point = SplitPoint("x", ReceptiveField(8, -40, 40), ReceptiveField(8, -40, 40))
    frame = Canvas((1080, 1920), (360, 640), (640, 640))
    height, width = split_point.part_hw(frame)
    assert width == 640 and 360 + 40 < height < 360 + 120 and height % 16 == 0
    square = Canvas((640, 640), (640, 640), (640, 640))
    nearly = Canvas((600, 640), (540, 640), (640, 640))
    assert split_point.part_hw(square) == split_point.part_hw(nearly) == (640, 640)


@pytest.mark.parametrize("tail", ["GlobalAveragePool", "GlobalMaxPool"])
def test_the_best_cut_spares_much_and_hands_over_little(tail: str):
    layers = [conv(3, 2), conv(3), conv(3), conv(3, 2), *[conv(3)] * 60]
    split_point = best_split_point(graph_of(chain(layers, tail), "chain"))
    assert split_point is not None
    # Not among the first, which hand over four times as many features, nor so late that the margin
    # is used up; and not between a convolution and its activation.
    assert split_point.rows.stride == 4 and split_point.rows.last < 100
    assert split_point.value.startswith("a")


def test_no_cut_where_everything_is_seen_at_once():
    model = chain([])
    assert best_split_point(graph_of(model, "chain")) is None


def test_no_cut_behind_weights_that_are_worked_out():
    model = chain([conv(3, 2)] * 3)
    graph = model.graph
    graph.node[2].input[1] = "worked out"
    # Identity would not do: weights behind it are weights.
    graph.node.insert(0, helper.make_node("Neg", ["w1"], ["worked out"]))
    assert best_split_point(graph_of(model, "chain")) is None


@pytest.mark.parametrize(
    "layer", [{**conv(3), "auto_pad": "SAME_UPPER"}, {"kernel_shape": [3], "strides": [1]}]
)
def test_no_cut_behind_what_has_no_plain_window(layer: dict[str, Any]):
    layer.pop("pads", None)
    graph = graph_of(chain([conv(3, 2)]), "chain")
    node = graph.nodes[0]
    object.__setattr__(node, "attributes", layer)
    assert best_split_point(graph) is None
