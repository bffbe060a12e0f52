"""Rewrites a detector's graph so that it skips black margins, and says what it is to be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batch_axis import image_shape, open_inputs
from .graph import MARGIN_INPUT, import_onnx
from .margin_points import MarginPlan, MarginPoint, steps_of

#: Of `[B,C,H,W]`, by the name of the graph for margins there.
AXES = {"rows": 2, "columns": 3}


def refilled_at(whole: Any, points: Sequence[MarginPoint], axis: int) -> Any:
    """An `onnx.ModelProto` that is given what an empty canvas's features are at its points.

    Args:
        whole: `onnx.ModelProto`.
        points: The points.
        axis: Of `[B,C,H,W]`, along which there is a margin: 2 or 3.
    """
    onnx = import_onnx()
    helper = onnx.helper
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    graph = model.graph
    _take_any_size(model)
    types = _types_of(whole, points)
    nodes = list(graph.node)
    del graph.node[:]
    refilled: dict[str, str] = {}
    following = {point.value: number for number, point in enumerate(points)}
    steps = steps_of(points, axis)
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = refilled.get(name, name)
        graph.node.append(node)
        for value in set(node.output) & following.keys():
            number = following[value]
            given, refilled[value] = f"{MARGIN_INPUT}{number}", f"{value}:refilled"
            kept = _without_last(graph, value, steps[number].spoilt, axis)
            graph.node.append(
                helper.make_node(
                    "Concat", [kept, given], [refilled[value]], refilled[value], axis=axis
                )
            )
            kind, channels = types[value]
            sizes = ["batch", channels, f"height {number}", f"width {number}"]
            graph.input.append(helper.make_tensor_value_info(given, kind, sizes))
    return model


def _without_last(graph: Any, value: str, count: int, axis: int) -> str:
    """The name of a value without its last rows or columns; adds to the graph what makes it."""
    if not count:
        return value
    onnx, kept, bounds = import_onnx(), f"{value}:kept", []
    for what, bound in (("start", 0), ("end", -count), ("axis", axis)):
        bounds.append(f"{kept} {what}")
        array = np.array([bound], dtype=np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(array, bounds[-1]))
    graph.node.append(onnx.helper.make_node("Slice", [value, *bounds], [kept], kept))
    return kept


def features_at(whole: Any, points: Sequence[MarginPoint]) -> Any:
    """An `onnx.ModelProto` that gives the features at some points of another one's; of any size."""
    onnx = import_onnx()
    # The types of the values there are nowhere written down.
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(whole))
    image = [entry.name for entry in open_inputs(whole.graph)]
    model = extractor.extract_model(image, [point.value for point in points])
    _take_any_size(model)
    for number, output in enumerate(model.graph.output):
        dims = output.type.tensor_type.shape.dim
        for axis, name in ((0, "batch"), (2, f"height {number}"), (3, f"width {number}")):
            dims[axis].Clear()
            dims[axis].dim_param = name
    return model


def _take_any_size(model: Any) -> None:
    # What was noted of inner sizes held for whole canvases.
    del model.graph.value_info[:]
    dims = image_shape(model)
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        dims[axis].Clear()
        dims[axis].dim_param = name


def _types_of(whole: Any, points: Sequence[MarginPoint]) -> dict[str, tuple[int, int | None]]:
    """ONNX's number of the type of the values at some points, and their channels if known."""
    inferred = import_onnx().shape_inference.infer_shapes(whole)
    wanted = {point.value for point in points}
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            value.type.tensor_type.shape.dim[1].dim_value or None,
        )
        for value in inferred.graph.value_info
        if value.name in wanted
    }


def refills(plan: MarginPlan, empty: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """What follows the features of a part of canvases at each point.

    Args:
        plan: How the canvases are run.
        empty: The features of an empty canvas at each point, `[1,C,H,W]` each.
        count: How many canvases there are.

    Returns:
        `[count,C,h,W]` each, or `[count,C,H,w]`; in the order of memory that `empty` has.
    """
    return tuple(
        features.narrow(plan.axis, refill.start, refill.stop - refill.start)
        .expand(count, -1, -1, -1)
        .contiguous(
            memory_format=torch.channels_last
            if features.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        for refill, features in zip(plan.refills, empty, strict=True)
    )
