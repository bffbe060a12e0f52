"""Gives graphs that were released for one image a batch axis.

InsightFace's SCRFD graphs end in a transpose to (height, width, image, channel) and a reshape to
(-1, channels), which mixes the images of a batch; others hold a 1 in some reshape. Both are a
matter of a few constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...utils.errors import ModelError
from .graph import MARGIN_INPUT, import_onnx

_BATCH = "batch"
_ELEMENTWISE = frozenset({"Sigmoid", "Mul", "Identity", "Exp", "Relu", "Cast"})


def with_batch_axis(model: Any) -> Any:
    """A copy of an ONNX model that takes any number of images.

    Nothing is proved here: hold its answers against the original's before using it.

    Args:
        model: `onnx.ModelProto` with one image input.

    Returns:
        `onnx.ModelProto`: the first axis of the input and of every output is the image; outputs
        that were `[anchors, C]` are `[batch, anchors, C]`.

    Raises:
        ModelError: There is no image input.
    """
    onnx = import_onnx()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    _open_axis(image_shape(copy)[0])
    # What exporters noted of inner shapes holds for one image only.
    del graph.value_info[:]
    anchors = _keep_images_apart(onnx, graph)
    for value in graph.output:
        shape = value.type.tensor_type.shape
        rank = 3 if value.name in anchors else len(shape.dim)
        last = shape.dim[-1].dim_value if len(shape.dim) else 0
        del shape.dim[:]
        _open_axis(shape.dim.add())
        for axis in range(1, rank):
            dim = shape.dim.add()
            if axis == rank - 1 and last:
                dim.dim_value = last
            else:
                dim.dim_param = f"{value.name}_{axis}"
    return copy


def image_shape(model: Any) -> Any:
    """The four dimensions of a model's one image input, as its own objects.

    Raises:
        ModelError: It has no such input, or several.
    """
    inputs = [
        value for value in open_inputs(model.graph) if not value.name.startswith(MARGIN_INPUT)
    ]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ModelError(f"expected one image input, got {[value.name for value in inputs]}")
    return inputs[0].type.tensor_type.shape.dim


def open_inputs(graph: Any) -> list[Any]:
    """The inputs of a `GraphProto` that are no weights."""
    constants = {tensor.name for tensor in graph.initializer}
    return [entry for entry in graph.input if entry.name not in constants]


def _open_axis(dim: Any) -> None:
    dim.Clear()
    dim.dim_param = _BATCH


def _keep_images_apart(onnx: Any, graph: Any) -> set[str]:
    """Makes transposes and reshapes keep the image as the first axis.

    Returns:
        Values that are now `[batch, anchors, C]`.
    """
    shapes = dict(_fixed_integers(onnx, graph))
    feature_maps: set[str] = set()
    anchors: set[str] = set()
    for node in graph.node:
        if node.op_type == "Transpose" and _permutation(node) in ([2, 3, 0, 1], [0, 2, 3, 1]):
            _permutation(node)[:] = [0, 2, 3, 1]
            feature_maps.add(node.output[0])
        elif node.op_type == "Reshape" and node.input[1] in shapes:
            old = shapes[node.input[1]].tolist()
            new = _batched_shape(old, node.input[0] in feature_maps)
            if node.input[0] in feature_maps and len(new) == 3:
                anchors.add(node.output[0])
            if new != old:
                # A new constant: the old one may be shared with a reshape that stays as it is.
                name = f"{node.output[0]}:shape"
                constant = onnx.numpy_helper.from_array(np.array(new, dtype=np.int64), name)
                graph.initializer.append(constant)
                node.input[1] = name
        elif node.op_type in _ELEMENTWISE and anchors & {*node.input}:
            anchors.update(node.output)
    drop_unused_constants(graph)
    return anchors


def drop_unused_constants(graph: Any) -> None:
    """Takes the constants that no node reads out of a `GraphProto`, and inputs in their place."""
    used = {name for node in graph.node for name in node.input}
    for entries in (graph.initializer, graph.input):
        # One by one: taking out all and putting back some would copy every weight.
        for place in reversed(range(len(entries))):
            if entries[place].name not in used:
                del entries[place]


def _batched_shape(shape: list[int], of_feature_map: bool) -> list[int]:
    """A reshape's target with the image axis kept; 0 keeps an axis as it is."""
    if of_feature_map and len(shape) == 2:
        return [0, -1, shape[1]]
    if len(shape) > 1 and shape[0] == 1:
        return [0, *shape[1:]]
    if of_feature_map and len(shape) == 3:
        return [0, -1, shape[2]]
    return shape


def _permutation(node: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == "perm":
            return attribute.ints
    return []


def _fixed_integers(onnx: Any, graph: Any) -> Iterator[tuple[str, np.ndarray]]:
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64:
            yield tensor.name, onnx.numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], onnx.numpy_helper.to_array(attribute.t)
