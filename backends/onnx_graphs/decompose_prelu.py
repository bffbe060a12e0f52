"""Writes PRelu out in operators that ONNX Runtime has fast ones of.

Its own for the CPU works in one thread, number by number, on features that were taken out of the
blocks in which its convolutions keep them: a tenth of the time of ResNet100, more than half of that
of MobileFaceNet and of the small heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .batch_axis import drop_unused_constants
from .graph import import_onnx


def write_out_prelu(model: Any) -> int:
    """Replaces, in place, those with a fixed slope for each channel, in float32.

    Nothing is proved here: hold its answers against the original's before using it.

    Args:
        model: `onnx.ModelProto`.

    Returns:
        How many were replaced.
    """
    graph = model.graph
    slopes = dict(_slopes(graph))
    nodes, replaced = [], 0
    for node in graph.node:
        if node.op_type == "PRelu" and node.input[1] in slopes:
            nodes += _written_out(node, graph, slopes[node.input[1]])
            replaced += 1
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_constants(graph)
    return replaced


def _slopes(graph: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Constants that can be slopes of features `[B,C,H,W]`, as `[C]` float64."""
    onnx = import_onnx()
    for tensor in graph.initializer:
        channels, *others = tensor.dims or [0]
        is_one_a_channel = channels > 1 and others == [1, 1]
        if tensor.data_type == onnx.TensorProto.FLOAT and is_one_a_channel:
            yield tensor.name, onnx.numpy_helper.to_array(tensor).reshape(-1).astype(np.float64)


def _written_out(node: Any, graph: Any, slope: np.ndarray) -> Iterator[Any]:
    """`x + sign(1-a) * relu(-|1-a| * x)`: x where it is positive, else a*x."""
    onnx = import_onnx()
    source, result = node.input[0], node.output[0]

    def scaled(value: str, factors: np.ndarray, name: str) -> Any:
        # As a convolution of each channel by itself, which stays in the blocks.
        kernel = factors.astype(np.float32).reshape(-1, 1, 1, 1)
        weight = onnx.numpy_helper.from_array(kernel, f"{result}:{name} by")
        graph.initializer.append(weight)
        shape = {"group": len(kernel), "kernel_shape": [1, 1]}
        return onnx.helper.make_node("Conv", [value, weight.name], [f"{result}:{name}"], **shape)

    yield scaled(source, -np.abs(1 - slope), "below")
    yield onnx.helper.make_node("Relu", [f"{result}:below"], [f"{result}:rest"])
    yield scaled(f"{result}:rest", np.sign(1 - slope), "change")
    yield onnx.helper.make_node("Add", [f"{result}:change", source], [result])
