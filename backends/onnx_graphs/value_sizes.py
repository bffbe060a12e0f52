"""How large a network's values get, worked out before anything makes room for them.

A few bytes can ask for any amount of memory: an input of a million pixels a side, or a node that
repeats, enlarges or fills something as often as a number in the file says. Engines run such nodes
while they open a file already.
"""

from __future__ import annotations

import logging
import math
import mmap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...utils.errors import BackendUnavailable, ModelError
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_sha256
from ...utils.packs.protobuf_fields import Message
from .graph import import_onnx

_log = logging.getLogger("FastFace")

#: Most pixels of an image that a graph may ask for: detectors are released for 640 x 640 and used
#: up to 4096 x 4096, heads take crops of 96 to 256.
_MOST_DETECTOR_PIXELS, _MOST_CROP_PIXELS = 4096 * 4096, 1024 * 1024
#: Height and width where a graph leaves them open.
_TYPICAL_SIDE = 640
#: Most elements of one value of a network: so many for each element of its input, and any number
#: that takes no more than 256 MB. The largest of SCRFD have 2 for each, of MobileFaceNet 11.
_MOST_FOR_EACH, _MOST_ANYWAY = 64, 1 << 26

#: Weights larger than this are no shapes or other numbers that decide sizes.
_SMALL_BYTES = 1 << 14
_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 1, 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8


def refuse_absurd_sizes(model: ModelFile) -> None:
    """Refuses a network that would take far more memory than any of its kind.

    Args:
        model: Its file is read without its weights, once as long as its content is the same.

    Raises:
        ModelError: Its input, or a value inside of it, is too large.
    """
    _refuse_absurd_input(model)
    try:
        elements, name = _largest_value(content_sha256(model.path), model)
    except BackendUnavailable as error:
        _log.debug("sizes inside %s are not known: %s", model.path.name, error)
        return
    shape = _input_shape(model)
    most = max(_MOST_ANYWAY, _MOST_FOR_EACH * math.prod(shape))
    if elements > most:
        raise ModelError(
            f"{model.path} makes {elements:,} numbers of value {name!r} for an image of "
            f"{shape[3]} x {shape[2]} pixels, expected at most {most:,}; it is damaged, or made to "
            "fill the memory: delete it and download its pack again"
        )


def _refuse_absurd_input(model: ModelFile) -> None:
    shape = _input_shape(model)
    most = _MOST_DETECTOR_PIXELS if model.task == "detection" else _MOST_CROP_PIXELS
    if len(shape) != 4 or shape[1] != 3 or math.prod(shape[2:]) > most:
        asked = ["any" if size is None else size for size in model.input_shape]
        raise ModelError(
            f"{model.path} takes input of shape {asked}, expected images [1, 3, height, width] of "
            f"at most {most:,} pixels; it is no network for faces: remove it, or download its pack "
            "again"
        )


def _input_shape(model: ModelFile) -> tuple[int, ...]:
    """Of one image, open sides at a typical size."""
    usual = (1, 3, _TYPICAL_SIDE, _TYPICAL_SIDE)
    sizes = zip(model.input_shape, usual, strict=False)
    shape = tuple(size or typical for size, typical in sizes)
    return shape if len(model.input_shape) == len(usual) else model.input_shape  # type: ignore[return-value]


@lru_cache(maxsize=64)
def _largest_value(content: str, model: ModelFile) -> tuple[int, str]:
    """Elements and name of the largest value, as far as sizes are known without running it."""
    onnx = import_onnx()
    graph, weights = _without_weights(onnx, model.path)
    constants = {tensor.name for tensor in graph.graph.initializer}
    for value in graph.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and len(dims) == 4:
            for dim, size in zip(dims, _input_shape(model), strict=True):
                dim.dim_value = size
    graph.graph.input.extend(weights.values())
    for value in graph.graph.output:
        # What is noted of it may be wrong, and would be believed.
        value.type.tensor_type.ClearField("shape")
    try:
        known = onnx.shape_inference.infer_shapes(graph, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        _log.debug("sizes inside %s can't be worked out: %s", model.path.name, error)
        return 0, ""
    largest = (0, "")
    for value in (*known.graph.value_info, *known.graph.output):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        largest = max(largest, (abs(math.prod(sizes)), value.name))
    return largest


def _without_weights(onnx: Any, path: Path) -> tuple[Any, dict[str, Any]]:
    """The graph of a file without its weights, but for small ones, and these as further inputs.

    Returns:
        `onnx.ModelProto`, and `onnx.ValueInfoProto` by name.
    """
    model, weights = onnx.ModelProto(), {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        message = Message(data)
        for number, part in message.fields(range(len(data))):
            if number == _MODEL_IR and isinstance(part, int):
                model.ir_version = part
            elif not isinstance(part, range):
                continue
            elif number == _MODEL_OPSET:
                model.opset_import.add().ParseFromString(data[part.start : part.stop])
            elif number == _MODEL_FUNCTION:
                model.functions.add().ParseFromString(data[part.start : part.stop])
            elif number == _MODEL_GRAPH:
                for weight in _add_graph(onnx, model.graph, message, data, part):
                    weights[weight.name] = weight
    listed = [value for value in model.graph.input if value.name in weights]
    for value in listed:
        model.graph.input.remove(value)
    return model, weights


def _add_graph(
    onnx: Any, graph: Any, message: Message, data: mmap.mmap, place: range
) -> Iterator[Any]:
    """Copies a graph but for large weights, which it gives as values of their type and shape."""
    kept = {
        _GRAPH_NODE: graph.node,
        _GRAPH_INITIALIZER: graph.initializer,
        _GRAPH_INPUT: graph.input,
        _GRAPH_OUTPUT: graph.output,
    }
    for number, part in message.fields(place):
        if not isinstance(part, range) or number not in kept:
            continue
        if number == _GRAPH_INITIALIZER and len(part) > _SMALL_BYTES:
            yield _as_input(onnx, message, part)
        else:
            kept[number].add().ParseFromString(data[part.start : part.stop])


def _as_input(onnx: Any, message: Message, place: range) -> Any:
    """A value with the name, type and shape of a tensor."""
    dims, element, name = [], 0, ""
    for number, part in message.fields(place):
        if number == _TENSOR_DIMS:
            dims += message.numbers(part)
        elif number == _TENSOR_TYPE and isinstance(part, int):
            element = part
        elif number == _TENSOR_NAME and isinstance(part, range):
            name = message.text(part)
    return onnx.helper.make_tensor_value_info(name, element, dims)
