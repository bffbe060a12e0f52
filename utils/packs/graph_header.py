"""Reads what an ONNX file says about its graph, without reading the weights.

Source: field numbers from onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelError
from .external_data import ExternalData, external_files
from .file_signatures import HEAD_BYTES, recognise
from .file_state import ByState, state_of
from .graph_tensors import check_declared_sizes
from .protobuf_fields import MAX_FIELDS, Malformed, Message

#: How many of the first nodes are described: what tells an MXNet graph from others is among them.
FIRST_NODES = 8
_SHOWN_TENSORS = 3
#: Longest value of the metadata that is kept, in bytes; longer ones are programs or pictures.
_MOST_METADATA = 1000
_MOST_STEPS = 10 * MAX_FIELDS

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_NAME, _NODE_OP_TYPE = 3, 4
_INITIALIZER_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2
_SHAPE_DIMENSION = 1
_DIMENSION_SIZE, _DIMENSION_NAME = 1, 2
_MAX_SIZE = (1 << 63) - 1  # sizes are signed: what lies above is negative

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: NumPy's name of its type; `ONNX type <n>` for exotic ones.
        shape: Size of each axis; None where the graph leaves it open. Empty if not stated.
        axes: The same, with the name of an open axis where it has one.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    axes: tuple[int | str | None, ...] = ()

    def __str__(self) -> str:
        sizes = "x".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype}[{sizes}]"


@dataclass(frozen=True)
class GraphHeader:
    """What an ONNX file says about its graph.

    Attributes:
        inputs: What has to be fed, in the graph's order; weights that old exporters list among
            the inputs are left out.
        outputs: What comes out, in the graph's order.
        node_names, op_types: Of the first `FIRST_NODES` nodes.
        node_count: How many nodes there are.
        opset: Version of the standard operators, or None if not stated.
        external_data: What the graph says of other files in which it keeps weights.
        metadata: What its exporter noted of it, keys with their values.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    node_names: tuple[str, ...]
    op_types: tuple[str, ...]
    node_count: int
    opset: int | None
    external_data: tuple[ExternalData, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"inputs {_listed(self.inputs)} -> outputs {_listed(self.outputs)}"


def _listed(tensors: tuple[TensorInfo, ...]) -> str:
    more = f" and {len(tensors) - _SHOWN_TENSORS} more" if len(tensors) > _SHOWN_TENSORS else ""
    return ", ".join(map(str, tensors[:_SHOWN_TENSORS])) + more


def read_graph_header(path: Path) -> GraphHeader:
    """Reads the header of an ONNX file; a few pages of it, however large it is.

    Args:
        path: The file. Its header is remembered until its `FileState` differs.

    Returns:
        Inputs, outputs and first nodes of its graph.

    Raises:
        ModelError: It is missing, unreadable, cut short, damaged, or no ONNX model, or so is a file
            in which it keeps weights; the message says what it looks like and what to do.
    """
    header = read_own_header(path)
    external_files(path, header.external_data)
    return header


def read_own_header(path: Path) -> GraphHeader:
    """`read_graph_header` without a look at the other files that the graph names."""
    state = state_of(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelError(f"{path} is a folder, expected an ONNX file; name a file in it")
        if not stat.S_ISREG(mode):
            raise ModelError(f"{path} is no ordinary file, expected an ONNX file; replace it")
        if state.size == 0:
            raise ModelError(f"{path} is empty, expected an ONNX file; download it again")
        return _headers.get_or_read(state, _read)
    except OSError as error:
        raise ModelError(
            f"{path} can't be read: {error}; check the rights to the file and the disk it is on"
        ) from error


_headers: ByState[GraphHeader] = ByState(256)


def _read(path: Path) -> GraphHeader:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if hasattr(mmap, "MADV_RANDOM"):  # or the system reads the weights ahead
            data.madvise(mmap.MADV_RANDOM)
        try:
            whole = range(len(data))
            header = _parse(Message(data), whole)
            # It goes through all nodes and weights, and not only to where they begin.
            external = check_declared_sizes(Message(data, _MOST_STEPS), whole)
            return replace(header, external_data=external)
        except Malformed as malformed:
            known = recognise(data[:HEAD_BYTES])
            what, remedy = known or (f"a damaged or foreign file: {malformed}", "download it again")
            raise ModelError(
                f"{path} ({len(data):,} bytes) is no usable ONNX file but {what}; {remedy}"
            ) from malformed


def _parse(message: Message, place: range) -> GraphHeader:
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    weights: set[str] = set()
    nodes: list[tuple[str, str]] = []
    node_count = 0
    for graph in message.places(place, _MODEL_GRAPH):
        for kind, part in message.fields(graph):
            if not isinstance(part, range):
                continue
            if kind == _GRAPH_NODE:
                node_count += 1
                if len(nodes) < FIRST_NODES:
                    nodes.append(_node(message, part))
            elif kind == _GRAPH_INITIALIZER:
                weights.add(_initializer_name(message, part))
            elif kind == _GRAPH_INPUT:
                inputs.append(_tensor(message, part))
            elif kind == _GRAPH_OUTPUT:
                outputs.append(_tensor(message, part))
    fed = tuple(tensor for tensor in inputs if tensor.name not in weights)
    if not fed or not outputs:
        raise Malformed("it holds no graph with an input and an output")
    versions = [_standard_opset(message, part) for part in message.places(place, _MODEL_OPSET)]
    opset = next(filter(None, versions), None)
    names, op_types = zip(*nodes, strict=True) if nodes else ((), ())
    noted = tuple(_entry(message, part) for part in message.places(place, _MODEL_METADATA))
    return GraphHeader(fed, tuple(outputs), names, op_types, node_count, opset, metadata=noted)


def _entry(message: Message, place: range) -> tuple[str, str]:
    """A key of the metadata and its value; empty where it is long."""
    key = value = ""
    for number, payload in message.fields(place):
        if isinstance(payload, range) and len(payload) <= _MOST_METADATA:
            if number == _ENTRY_KEY:
                key = message.text(payload)
            elif number == _ENTRY_VALUE:
                value = message.text(payload)
    return key, value


def _standard_opset(message: Message, place: range) -> int | None:
    domain, version = "", None
    for number, payload in message.fields(place):
        if number == _OPSET_DOMAIN and isinstance(payload, range):
            domain = message.text(payload)
        elif number == _OPSET_VERSION and isinstance(payload, int):
            version = payload
    return version if domain in ("", "ai.onnx") else None


def _node(message: Message, place: range) -> tuple[str, str]:
    name = op_type = ""
    for number, payload in message.fields(place):
        if number == _NODE_NAME and isinstance(payload, range):
            name = message.text(payload)
        elif number == _NODE_OP_TYPE and isinstance(payload, range):
            op_type = message.text(payload)
    return name, op_type


def _initializer_name(message: Message, place: range) -> str:
    for name in message.places(place, _INITIALIZER_NAME):
        return message.text(name)
    return ""


def _tensor(message: Message, place: range) -> TensorInfo:
    name, dtype, axes = "", "unknown", ()
    for number, payload in message.fields(place):
        if number == _VALUE_NAME and isinstance(payload, range):
            name = message.text(payload)
        elif number == _VALUE_TYPE and isinstance(payload, range):
            for tensor_type in message.places(payload, _TYPE_TENSOR):
                dtype, axes = _tensor_type(message, tensor_type)
    sizes = tuple(axis if isinstance(axis, int) else None for axis in axes)
    return TensorInfo(name, dtype, sizes, axes)


def _tensor_type(message: Message, place: range) -> tuple[str, tuple[int | str | None, ...]]:
    dtype, axes = "unknown", ()
    for number, payload in message.fields(place):
        if number == _TENSOR_ELEMENT and isinstance(payload, int):
            dtype = _DTYPES.get(payload, f"ONNX type {payload}")
        elif number == _TENSOR_SHAPE and isinstance(payload, range):
            places = message.places(payload, _SHAPE_DIMENSION)
            axes = tuple(_axis(message, axis) for axis in places)
    return dtype, axes


def _axis(message: Message, place: range) -> int | str | None:
    """The size of an axis, or the name of an open one; None where it has neither."""
    axis: int | str | None = None
    for number, payload in message.fields(place):
        if number == _DIMENSION_SIZE and isinstance(payload, int):
            axis = payload if 0 < payload <= _MAX_SIZE else None
        elif number == _DIMENSION_NAME:
            axis = message.text(payload) or None if isinstance(payload, range) else None
    return axis
