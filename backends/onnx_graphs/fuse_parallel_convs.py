"""Makes convolutions that read the same features one, where that leaves fewer channels unused.

SCRFD's heads end in three small ones for each level: 2 channels of scores, 8 of distances, 20 of
landmark offsets. Engines work on 16 channels at a time, so that these cost as much as 64 do;
together they are 30. Each channel's sum stays what it was, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batch_axis import drop_unused_constants
from .graph import import_onnx

#: Channels that engines work on at a time.
_AT_ONCE = 16


def join_parallel_convolutions(model: Any) -> None:
    """Joins them in place.

    Nothing is proved here: hold its answers against the original's before using it.

    Args:
        model: `onnx.ModelProto`.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for group in list(_groups(graph, weights)):
        _join(graph, weights, group)
    drop_unused_constants(graph)


def _groups(graph: Any, weights: dict[str, Any]) -> Iterator[list[Any]]:
    """Convolutions that differ in nothing but their weights, several each."""
    alike: dict[tuple, list[Any]] = {}
    for node in graph.node:
        if node.op_type != "Conv" or any(name not in weights for name in node.input[1:]):
            continue
        attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
        kernel = tuple(weights[node.input[1]].dims[1:])
        key = (node.input[0], len(node.input), kernel, tuple(attributes))
        alike.setdefault(key, []).append(node)
    for group in alike.values():
        if any(attribute.name == "group" and attribute.i != 1 for attribute in group[0].attribute):
            continue
        channels = [weights[node.input[1]].dims[0] for node in group]
        if _used(sum(channels)) < sum(map(_used, channels)):
            yield group


def _used(channels: int) -> int:
    return math.ceil(channels / _AT_ONCE) * _AT_ONCE


def _join(graph: Any, weights: dict[str, Any], group: Sequence[Any]) -> None:
    helper, numpy_helper = import_onnx().helper, import_onnx().numpy_helper
    joined = f"{group[0].output[0]}:joined"

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{joined}:{name}"))
        return f"{joined}:{name}"

    scaled = [_with_scale(graph, weights, node) for node in group]
    columns = zip(*(arrays for arrays, _ in scaled), strict=True)
    names = [
        constant(f"weight {place}", np.concatenate(parts)) for place, parts in enumerate(columns)
    ]
    place = min(index for index, node in enumerate(graph.node) if node in group)
    conv = helper.make_node("Conv", [group[0].input[0], *names], [joined], name=joined)
    conv.attribute.extend(group[0].attribute)
    pieces, first = [], 0
    for number, ((kernel, *_), output) in enumerate(scaled):
        last = first + len(kernel)
        bounds = [
            constant(f"{word} {number}", np.array([value], dtype=np.int64))
            for word, value in (("first", first), ("last", last), ("axis", 1))
        ]
        pieces.append(helper.make_node("Slice", [joined, *bounds], [output]))
        first = last
    gone = {output for node in group for output in node.output} | {output for _, output in scaled}
    kept = [node for node in graph.node if not gone & set(node.output)]
    place -= sum(1 for node in list(graph.node)[:place] if gone & set(node.output))
    del graph.node[:]
    graph.node.extend([*kept[:place], conv, *pieces, *kept[place:]])


def _with_scale(graph: Any, weights: dict[str, Any], node: Any) -> tuple[list[np.ndarray], str]:
    """A convolution's kernel and offset, a factor behind it multiplied in, and what comes out."""
    to_array = import_onnx().numpy_helper.to_array
    arrays = [to_array(weights[name]) for name in node.input[1:]]
    readers = [other for other in graph.node if node.output[0] in other.input]
    outputs = {value.name for value in graph.output}
    if len(readers) == 1 and readers[0].op_type == "Mul" and node.output[0] not in outputs:
        for factor in readers[0].input:
            if factor in weights and math.prod(weights[factor].dims) == 1:
                # In this precision, as engines do it themselves where they can.
                scale = to_array(weights[factor]).reshape(())
                return [array * scale for array in arrays], readers[0].output[0]
    return arrays, node.output[0]
