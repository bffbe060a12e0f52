"""Where graphs are refilled, and that an empty canvas's features there change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fastface.backends.onnx_graphs.graph import Graph, graph_of
from fastface.backends.onnx_graphs.margin_points import (
    MarginPoint,
    Refill,
    best_margin_points,
    plan_of,
)
from fastface.backends.onnx_graphs.margin_rewrite import features_at, refilled_at, refills
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.onnx_graphs.receptive_field import ReceptiveField, seen_through
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


def points_of(graph: Graph) -> list[MarginPoint]:
    """All places for points, whatever they spare."""
    from fastface.backends.onnx_graphs.margin_points import _candidates

    return [candidate.point for candidate in _candidates(graph)]


def fields_of(model: Any, value: str) -> tuple[ReceptiveField, ReceptiveField]:
    """What a value sees along both axes, whether or not it is a place for a point."""
    graph = graph_of(model, "chain")
    fields = {graph.input: (ReceptiveField(), ReceptiveField())}
    for node in graph.nodes:
        sources = [fields[name] for name in node.inputs if name in fields]
        seen = seen_through(node, graph, sources)
        if seen is None:
            break
        fields[node.outputs[0]] = seen
    return fields[value]


def network_of(model: Any) -> Any:
    return Network(graph_of(model, "part")).eval()


def even(kernel: int, stride: int, dilation: int) -> dict[str, Any]:
    """A layer with one feature for each stride."""
    return conv(kernel, stride, kernel // 2 * dilation, dilation)


LAYERS = st.lists(
    st.one_of(
        st.builds(even, st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(1, 2)),
        st.just(conv(residual=True)),
        st.builds(
            lambda stride, pool: conv(3, stride, 1, pool=pool),
            st.integers(1, 2),
            st.sampled_from(["Max", "Average"]),
        ),
        st.builds(lambda pool: conv(2, 2, 0, pool=pool), st.sampled_from(["Max", "Average"])),
    ),
    min_size=2,
    max_size=6,
)


@steady(40)
@given(LAYERS, st.integers(1, 70), st.sampled_from([2, 3]), st.integers(1, 63))
def test_what_skips_margins_gives_what_the_whole_gives(
    layers: list[dict[str, Any]], filled: int, axis: int, chosen: int
):
    # A residual needs as many channels as it adds; the last layer's features are no point.
    layers = [conv(1), *layers, conv(3)]
    model = chain(layers, "Identity")
    every = points_of(graph_of(model, "chain"))
    points = [point for place, point in enumerate(every) if chosen >> place & 1]
    assume(points)
    size_hw = (320, 64) if axis == 2 else (64, 320)
    filled_hw = (filled, 64) if axis == 2 else (64, filled)
    canvas = Canvas(filled_hw, filled_hw, size_hw)
    plan = plan_of(points, canvas)
    assume(plan is not None)
    assert plan.axis == axis and filled <= plan.pixels < 320
    random = torch.Generator().manual_seed(filled)
    images = torch.full((2, 3, *size_hw), BLACK)
    images[:, :, : filled_hw[0], : filled_hw[1]] = torch.rand(2, 3, *filled_hw, generator=random)
    with torch.inference_mode():
        (whole,) = network_of(model)(images)
        empty = network_of(features_at(model, points))(torch.full((1, 3, *size_hw), BLACK))
        given = refills(plan, empty, 2)
        part = images.narrow(axis, 0, plan.pixels)
        (got,) = network_of(refilled_at(model, points, axis))(part, *given)
    assert got.shape == whole.shape
    assert torch.allclose(got, whole, atol=1e-5)


@pytest.mark.parametrize(
    "layers, window",
    [
        ([conv(3)], (1, -1, 1)),
        ([conv(3, 2)], (2, -1, 1)),
        ([conv(3, 2), conv(3)], (2, -3, 3)),
        ([conv(3, 1, 2, 2)], (1, -2, 2)),
        ([conv(5, 2, 0)], (2, 0, 4)),
        ([conv(3, 2), conv(3, 2, 1, pool="Max"), conv(3, residual=True)], (4, -7, 7)),
        ([conv(2, 2, 0, pool="Average")], (2, 0, 1)),
    ],
)
def test_windows_are_what_is_seen_and_no_more(layers: list[dict[str, Any]], window: tuple):
    model = chain(layers, "Identity")
    value = f"a{len(layers) - 1}"
    rows, columns = fields_of(model, value)
    assert rows == columns and (rows.stride, rows.first, rows.last) == window
    front = network_of(features_at(model, [MarginPoint(value, rows, columns)]))
    seen = set()
    with torch.inference_mode():
        for pixel in range(64):
            image = torch.zeros(1, 3, 64, 64)
            image[:, :, pixel] = 100.0
            ((lit,), (dark,)) = front(image), front(torch.zeros(1, 3, 64, 64))
            assert len(lit[0, 0]) == rows.count - (4096 - 64) // rows.stride
            seen |= {(int(row), pixel) for row in (lit - dark).abs().amax((0, 1, 3)).nonzero()}
    middle = 40 // rows.stride
    offsets = {pixel - middle * rows.stride for row, pixel in seen if row == middle}
    assert (min(offsets), max(offsets)) == (rows.first, rows.last)


def test_sides_of_unlike_padding_are_told_apart():
    layer = {"kernel_shape": [3, 1], "strides": [2, 1], "pads": [0, 0, 2, 0], "dilations": [1, 1]}
    rows, columns = fields_of(chain([layer]), "a0")
    assert (rows, columns) == (ReceptiveField(2, 0, 2, 2048), ReceptiveField(1, 0, 0, 4096))


@pytest.mark.parametrize("layer", [conv(3, 2, 0), conv(3, 1, 2), conv(2, 2, 1, pool="Max")])
def test_no_points_where_features_are_more_or_fewer_than_strides(layer: dict[str, Any]):
    model = chain([layer, conv(3)], "Identity")
    assert not fields_of(model, "a0")[0].is_even
    assert not points_of(graph_of(model, "chain"))


FIELD = ReceptiveField(8, -40, 40, 512)
POINTS = [MarginPoint("x", FIELD, FIELD)]


def test_a_plan_runs_the_picture_and_as_much_as_its_features_see():
    plan = plan_of(POINTS, Canvas((1080, 1920), (360, 640), (640, 640)))
    # Features 0..49 see rows up to 367; to work these out takes rows up to 8 * 49 + 40.
    assert plan == (2, 448, (Refill(51, 80),))
    turned = plan_of(POINTS, Canvas((1920, 1080), (640, 360), (640, 640)))
    assert turned == (3, 448, (Refill(51, 80),))


@pytest.mark.parametrize("filled", [640, 620, 580, 560])
def test_no_plan_where_nearly_all_is_needed(filled: int):
    assert plan_of(POINTS, Canvas((filled, 640), (filled, 640), (640, 640))) is None


def test_no_plan_for_canvases_of_broken_strides():
    assert plan_of(POINTS, Canvas((100, 640), (100, 640), (644, 640))) is None


@pytest.mark.parametrize("filled", range(1, 640, 7))
def test_features_that_see_the_picture_are_always_those_of_the_part(filled: int):
    fields = [ReceptiveField(4, -31, 31, 1024), FIELD, ReceptiveField(8, -105, 107, 512)]
    points = [MarginPoint(str(place), field, field) for place, field in enumerate(fields)]
    plan = plan_of(points, Canvas((filled, 640), (filled, 640), (640, 640)))
    if plan is None:
        assert filled > 450
        return
    given = plan.pixels
    for place, (field, refill) in enumerate(zip(fields, plan.refills, strict=True)):
        step = fields[place - 1].stride if place else 1
        # None sees beyond the edge of what there is, nor what lies behind it any of the picture.
        reach = (field.last - (fields[place - 1].last if place else 0)) // step
        assert (refill.start - 1) * (field.stride // step) + reach < given
        assert refill.start * field.stride + field.first >= filled
        assert refill.start < refill.stop <= 640 // field.stride
        given = refill.stop
    assert given == 80


@pytest.mark.parametrize("tail", ["GlobalAveragePool", "GlobalMaxPool"])
def test_the_best_points_spare_much_and_copy_little(tail: str):
    layers = [conv(3, 2), conv(3), conv(3), conv(3, 2), *[conv(3)] * 60]
    points = best_margin_points(graph_of(chain(layers, tail), "chain"))
    # Not among the first, which have four times as many features to copy, nor so late that the
    # margin is used up; and not between a convolution and its activation.
    assert points and all(point.rows.stride == 4 for point in points)
    assert 50 < points[-1].rows.last < 240
    assert all(point.value.startswith("a") for point in points)


def test_no_points_where_everything_is_seen_at_once():
    model = chain([])
    assert best_margin_points(graph_of(model, "chain")) == ()


def test_no_points_behind_weights_that_are_worked_out():
    model = chain([conv(3, 2)] * 3)
    graph = model.graph
    graph.node[2].input[1] = "worked out"
    # Identity would not do: weights behind it are weights.
    graph.node.insert(0, helper.make_node("Neg", ["w1"], ["worked out"]))
    assert [point.value for point in points_of(graph_of(model, "chain"))] == ["a0"]


@pytest.mark.parametrize(
    "layer", [{**conv(3), "auto_pad": "SAME_UPPER"}, {"kernel_shape": [3], "strides": [1]}]
)
def test_no_points_behind_what_has_no_plain_window(layer: dict[str, Any]):
    layer.pop("pads", None)
    graph = graph_of(chain([conv(3, 2)]), "chain")
    node = graph.nodes[0]
    object.__setattr__(node, "attributes", layer)
    assert points_of(graph) == []
