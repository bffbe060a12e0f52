"""Graphs in half precision, with the nodes that stay in single precision named."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import BackendUnavailable
from ..onnx_graphs.graph import import_onnx, read_model
from ..onnx_graphs.kept_nodes import around_outputs, before_the_first_weights, name_nodes
from ..providers.check import pip

#: Raised when the conversion changes, so that engines of an older one are built anew.
CONVERSION = 1

_LARGEST = float(np.finfo(np.float16).max)
#: The least that half precision holds with all its digits.
_SMALLEST = float(np.finfo(np.float16).tiny)
#: Which input of an operator is divided by, where small numbers matter as much as large ones.
_DIVISORS = {"BatchNormalization": 4, "Div": 1}


def half_graph(path: Path) -> tuple[Any, tuple[str, ...]]:
    """A graph converted to half precision; inputs and outputs stay in single precision.

    In single precision stay: what prepares the image before the first layer with weights; the last
    layer with weights before each output, and what follows it, since scores, distances and
    embeddings are read to more digits than half precision has; and nodes with constants that it
    can't hold.

    Args:
        path: Of the graph.

    Returns:
        `onnx.ModelProto`, and the names of the nodes that stay, in the graph's order.

    Raises:
        BackendUnavailable: The converter, which comes with onnxruntime, is not installed.
        ModelError: The file can't be read.
    """
    convert = _converter()
    model = read_model(path)
    name_nodes(model)
    kept = nodes_to_keep(model)
    own = {node.name for node in model.graph.node}
    converted = convert(model, keep_io_types=True, node_block_list=list(kept))
    _join_casts(converted, own)
    return converted, kept


def _converter() -> Any:
    before = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise BackendUnavailable(
            f"precision fp16 needs the converter that comes with onnxruntime ({error}); install it "
            f"with: {pip('install onnxruntime')}, or build in fp32"
        ) from error
    finally:
        # Its package puts its folder, full of modules with everyday names, where all look.
        sys.path[:] = before
    # At level INFO it prints whole nodes.
    logging.getLogger(convert_float_to_float16.__module__).setLevel(logging.WARNING)
    return convert_float_to_float16


def _join_casts(model: Any, own: set[str]) -> None:
    """Removes what the converter puts in too often: the same cast for each reader of a value, and
    the way to half precision and back between two nodes that stay in single precision, which would
    round what they were kept for.

    Args:
        model: Changed in place.
        own: Names of the nodes that are not the converter's casts.
    """
    graph = model.graph
    nodes = {(node.name, *node.output): node for node in graph.node}.values()
    casts = {node.output[0]: node for node in nodes if node.name not in own}
    to_half = import_onnx().TensorProto.FLOAT16
    exact: dict[str, str] = {}
    for output, cast in casts.items():
        back = casts.get(cast.input[0])
        if _target(cast) != to_half and back is not None and _target(back) == to_half:
            exact[output] = back.input[0]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = exact.get(name, name)
    for output in graph.output:
        if output.name in exact:
            casts[output.name].input[0] = exact[output.name]
    read = {output.name for output in graph.output}
    read.update(name for node in nodes for name in node.input if name)
    kept = [node for node in nodes if node.name in own or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(kept)


def _target(cast: Any) -> int:
    return cast.attribute[0].i


def nodes_to_keep(model: Any) -> tuple[str, ...]:
    """Names of the nodes of a `ModelProto` that stay in single precision; all must have names."""
    nodes = list(model.graph.node)
    kept = before_the_first_weights(model) | around_outputs(model)
    kept |= _with_constants_out_of_range(model, nodes)
    return tuple(node.name for node in nodes if node.name in kept)


def _with_constants_out_of_range(model: Any, nodes: list[Any]) -> set[str]:
    too_large, too_small = set(), set()
    for tensor in model.graph.initializer:
        if tensor.data_type != tensor.FLOAT:
            continue
        sizes = np.abs(import_onnx().numpy_helper.to_array(tensor))
        if sizes.size and not sizes.max() <= _LARGEST:
            too_large.add(tensor.name)
        if (sizes < _SMALLEST).any():
            too_small.add(tensor.name)
    return {
        node.name
        for node in nodes
        if too_large.intersection(node.input)
        or too_small.intersection(node.input[_DIVISORS.get(node.op_type, len(node.input)) :][:1])
    }
