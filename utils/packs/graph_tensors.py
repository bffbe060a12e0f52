"""The tensors of an ONNX file: where they lie, and what sizes they claim, held against the file's.

Source: field numbers from onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .external_data import ExternalData
from .protobuf_fields import Malformed, Message

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_FUNCTION_NODE = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = {5, 10}, {6, 11}, {22, 23}
_SPARSE_VALUES, _SPARSE_INDICES, _SPARSE_DIMS = 1, 2, 3
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_STRINGS, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 6, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
#: Fields with the numbers themselves: float, int32, int64, double, uint64.
_TENSOR_NUMBERS = {4, 5, 7, 10, 11}
_EXTERNAL_LOCATION = 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
#: Loops and branches have graphs inside; networks have one or two levels of them.
_MOST_LEVELS = 16
_SIGN = 1 << 63

_STRING = 8
#: Bits of an element by its type: float, uint8, int8, uint16, int16, int32, int64, bool, float16,
#: double, uint32, uint64, complex64, complex128, bfloat16, the five float8, uint4, int4, float4,
#: float8e8m0, uint2, int2.
_BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64},
    **{14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2},
    26: 2,
}


def check_declared_sizes(message: Message, place: range) -> tuple[ExternalData, ...]:
    """Holds the sizes that a model's tensors claim against the bytes that there are for them.

    A few bytes can claim to be a tensor of terabytes, which whoever opens the file would make room
    for.

    Args:
        message: The file.
        place: Where the model lies in it.

    Returns:
        What it says of the files in which it keeps weights, one for each file, by its name.

    Raises:
        Malformed: A tensor claims another size.
    """
    furthest: dict[str, ExternalData] = {}
    for tensor in _tensors(message, place):
        data = _check_tensor(message, tensor)
        if data and data.end >= furthest.get(data.location, data).end:
            furthest[data.location] = data
    return tuple(furthest[location] for location in sorted(furthest))


def _tensors(message: Message, place: range) -> Iterator[range]:
    """Where every tensor of a model lies: weights, constants, those of branches and functions.

    Raises:
        Malformed: One is sparse, or graphs lie too deep inside each other.
    """
    for number, part in message.fields(place):
        if not isinstance(part, range):
            continue
        if number == _MODEL_GRAPH:
            yield from _of_graph(message, part, 0)
        elif number == _MODEL_FUNCTION:
            for node in message.places(part, _FUNCTION_NODE):
                yield from _of_node(message, node, 0)


def _of_graph(message: Message, place: range, level: int) -> Iterator[range]:
    if level > _MOST_LEVELS:
        raise Malformed(f"it has graphs inside graphs, more than {_MOST_LEVELS} deep")
    for number, part in message.fields(place):
        if not isinstance(part, range):
            continue
        if number == _GRAPH_NODE:
            yield from _of_node(message, part, level)
        elif number == _GRAPH_INITIALIZER:
            yield part
        elif number == _GRAPH_SPARSE_INITIALIZER:
            yield from _of_sparse(message, part)


def _of_node(message: Message, place: range, level: int) -> Iterator[range]:
    for attribute in message.places(place, _NODE_ATTRIBUTE):
        for number, part in message.fields(attribute):
            if not isinstance(part, range):
                continue
            if number in _ATTRIBUTE_TENSORS:
                yield part
            elif number in _ATTRIBUTE_SPARSE:
                yield from _of_sparse(message, part)
            elif number in _ATTRIBUTE_GRAPHS:
                yield from _of_graph(message, part, level + 1)


def _of_sparse(message: Message, place: range) -> Iterator[range]:
    """The two tensors of a sparse one, whose zeros are all that can be missing in the file."""
    dims: list[int] = []
    held = 0
    for number, part in message.fields(place):
        if number == _SPARSE_DIMS:
            dims += message.numbers(part)
        elif number in (_SPARSE_VALUES, _SPARSE_INDICES) and isinstance(part, range):
            held += len(part)
            yield part
    # Engines make them dense. Nobody writes one that is more than a few hundred times larger then.
    if math.prod(dims) > _MOST_SPARSE * max(1, held):
        raise Malformed(f"a sparse tensor of shape {dims} is held by {held:,} bytes")


#: Most elements of a sparse tensor for each byte that holds it.
_MOST_SPARSE = 1000


def _check_tensor(message: Message, place: range) -> ExternalData | None:
    """What a tensor says of the other file in which it lies; None where it lies in this one."""
    dims: list[int] = []
    element, name, held, external = 0, "", 0, {}
    is_raw = is_external = False
    for number, part in message.fields(place):
        if number == _TENSOR_DIMS:
            dims += message.numbers(part)
        elif number == _TENSOR_TYPE and isinstance(part, int):
            element = part
        elif number == _TENSOR_NAME and isinstance(part, range):
            name = message.text(part)
        elif number == _TENSOR_RAW and isinstance(part, range):
            is_raw, held = True, len(part)
        elif number in _TENSOR_NUMBERS:
            # A number takes a byte at least; small ones share one.
            held += len(part) if isinstance(part, range) else 1
        elif number == _TENSOR_STRINGS:
            held += 1
        elif number == _TENSOR_EXTERNAL and isinstance(part, range):
            key, value = _entry(message, part)
            external[key] = value
        elif number == _TENSOR_LOCATION:
            is_external = part == _EXTERNAL_LOCATION
    if any(size >= _SIGN for size in dims):
        raise Malformed(f"tensor {name!r} has an axis of negative size")
    tensor = f"tensor {name!r}"
    claims = f"{tensor} claims the shape {dims}"
    elements = math.prod(dims)
    wanted = -(-elements * _BITS.get(element, 8) // 8)
    if is_external:
        return _external(tensor, f"{claims}, {wanted:,} bytes", wanted, external)
    if is_raw and element in _BITS and held != wanted:
        raise Malformed(f"{claims}, {wanted:,} bytes, and has {held:,}")
    if not is_raw and min(elements, wanted) > held:
        raise Malformed(f"{claims}, {elements:,} numbers, and has at most {held:,}")
    return None


def _external(tensor: str, claims: str, wanted: int, entries: dict[str, str]) -> ExternalData:
    """What a tensor says of where it lies, held against its shape; the file is not looked at."""
    try:
        offset, length = (int(entries.get(name) or 0) for name in ("offset", "length"))
    except ValueError as error:
        raise Malformed(f"{claims}, in another file, where no number says ({error})") from error
    if min(offset, length) < 0 or 0 < length < wanted:
        raise Malformed(f"{claims}, in {length:,} bytes from byte {offset:,} of another file")
    return ExternalData(entries.get("location", ""), offset + max(length, wanted), tensor)


def _entry(message: Message, place: range) -> tuple[str, str]:
    texts = {
        number: message.text(part)
        for number, part in message.fields(place)
        if isinstance(part, range)
    }
    return texts.get(_ENTRY_KEY, ""), texts.get(_ENTRY_VALUE, "")
