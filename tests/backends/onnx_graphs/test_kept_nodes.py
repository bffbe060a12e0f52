"""Which nodes stay in floating point when the rest of a graph is quantised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fastface.backends.onnx_graphs.kept_nodes import (
    ExactEnds,
    around_outputs,
    around_upsampling,
    before_the_first_weights,
    exact_ends,
    exact_layers,
    of_shapes,
    products,
)

onnx = pytest.importorskip("onnx")
helper = onnx.helper

IMAGE = np.zeros((1, 3, 8, 8), np.float32)
MARGIN = np.zeros((1, 4, 2, 8), np.float32)


def graph_of(nodes: Sequence[tuple[str, str, Sequence[str]]], weights: dict[str, tuple]) -> Any:
    """A model of nodes: operator, name (and of its output), inputs; weights by name and shape."""
    made = [
        helper.make_node(operator, list(inputs), [name], name=name)
        for operator, name, inputs in nodes
    ]
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            made,
            "graph",
            [value("image", 1, [None, 3, None, None]), value("margin", 1, [None, 4, None, None])],
            [value(nodes[-1][1], 1, None)],
            [onnx.numpy_helper.from_array(np.ones(of, np.float32), w) for w, of in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )


@pytest.fixture
def model() -> Any:
    """Four layers; behind the first one features of a margin are joined on."""
    return graph_of(
        [
            ("Relu", "before", ["image"]),
            ("Conv", "first", ["before", "w1"]),
            ("Relu", "behind_first", ["first"]),
            ("Concat", "joined", ["behind_first", "margin"]),
            ("Relu", "behind_joined", ["joined"]),
            ("Conv", "second", ["behind_joined", "w2"]),
            ("Conv", "third", ["second", "w3"]),
            ("Relu", "behind_third", ["third"]),
            ("Conv", "last", ["behind_third", "w4"]),
            ("Sigmoid", "score", ["last"]),
        ],
        {
            "w1": (4, 3, 1, 1),
            "w2": (16, 4, 1, 1),
            "w3": (16, 16, 1, 1),
            "w4": (1, 16, 1, 1),
        },
    )


@pytest.fixture(autouse=True)
def axis(model: Any) -> None:
    joined = next(node for node in model.graph.node if node.name == "joined")
    joined.attribute.append(helper.make_attribute("axis", 2))


def test_what_a_margin_alone_reaches_is_not_before_the_first_layer(model: Any):
    assert before_the_first_weights(model) == {"before"}
    assert around_outputs(model) == {"last", "score"}


def test_products_count_what_is_joined_on(model: Any):
    assert products(model, [IMAGE, MARGIN]) == {
        "first": 3 * 4 * 64,
        "second": 4 * 16 * 80,
        "third": 16 * 16 * 80,
        "last": 16 * 80,
    }


@pytest.mark.parametrize(
    ("first", "last", "ends"),
    [
        (0.0, 0.0, (0, 0)),
        (0.05, 0.0, (1, 0)),  # 2.8 % of the products
        (0.3, 0.0, (2, 0)),
        (0.0, 0.05, (0, 1)),  # 4.7 %
        (0.0, 0.85, (0, 2)),
        (1.0, 1.0, (4, 4)),
    ],
)
def test_ends_are_as_long_as_their_share_of_the_work(model, first, last, ends):
    assert exact_ends(model, [IMAGE, MARGIN], first, last) == ends


def test_what_lies_between_layers_that_stay_stays_too(model: Any):
    assert exact_layers(model, ExactEnds(1, 2)) == {
        *("before", "first", "behind_first", "joined", "behind_joined"),
        *("third", "behind_third", "last", "score"),
    }
    # What comes from a layer that is quantised is quantised before the next one.
    assert "behind_third" not in exact_layers(model, ExactEnds(0, 1))


def test_layers_of_equal_rank_stay_together():
    model = graph_of(
        [
            ("Conv", "trunk", ["image", "w1"]),
            ("Conv", "left", ["trunk", "w2"]),
            ("Conv", "right", ["trunk", "w2"]),
            ("Add", "both", ["left", "right"]),
        ],
        {"w1": (4, 3, 1, 1), "w2": (4, 4, 1, 1)},
    )
    work = [IMAGE, MARGIN]
    assert exact_ends(model, work, 0.0, 0.5).last == 0
    assert exact_layers(model, exact_ends(model, work, 0.0, 0.8)) == {"left", "right", "both"}


def test_what_works_out_shapes_is_no_pixels():
    model = graph_of(
        [
            ("Conv", "features", ["image", "w"]),
            ("Shape", "shape", ["features"]),
            ("Gather", "height", ["shape", "place"]),
            ("Unsqueeze", "end", ["height", "place"]),
            ("Slice", "kept", ["features", "place", "end"]),
        ],
        {"w": (4, 3, 1, 1), "place": (1,)},
    )
    assert of_shapes(model) == {"shape", "height", "end"}


def test_the_top_of_a_pyramid_is_what_is_scaled_up_and_what_that_is_added_to():
    model = graph_of(
        [
            ("Conv", "fine", ["image", "w"]),
            ("Conv", "coarse", ["fine", "w"]),
            ("Conv", "lateral", ["fine", "w"]),
            ("Conv", "top", ["coarse", "w"]),
            ("Resize", "larger", ["top", "", "scales"]),
            ("Add", "joined", ["lateral", "larger"]),
            ("Conv", "head", ["joined", "w"]),
            ("Add", "residual", ["head", "fine"]),
        ],
        {"w": (3, 3, 1, 1), "scales": (4,)},
    )
    assert around_upsampling(model) == {"top", "larger", "lateral", "joined"}
