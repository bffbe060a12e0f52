"""`Graph`: an ONNX file as plain data, nodes in the order they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import BackendUnavailable, ModelError
from ...utils.files import source_for_libraries
from ...utils.packs.checksums import model_states

#: How the names of inputs begin that the pack's own graphs have besides the image; see
#: `margin_rewrite.py`.
MARGIN_INPUT = "fastface:margin:"
#: A protobuf message is never larger; what is has to stay in several files.
_MOST_MESSAGE_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        op: ONNX's name of the operator.
        name: The node's own name, for messages; may be empty.
        inputs: Names of its inputs; an empty name is an input left out.
        outputs: Names of its outputs.
        attributes: Numbers, strings, lists and arrays by name.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op} node {self.name or self.outputs[0]!r}"


@dataclass(frozen=True)
class Graph:
    """A network with one image input, and further ones if it is of `margin_rewrite.py`.

    Attributes:
        name: File name, for messages.
        inputs: Names of the inputs, the image's first.
        outputs: Names of the outputs.
        nodes: In the order they run.
        constants: Weights and other fixed values by name.
        opset: Version of the operators.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    opset: int

    @property
    def input(self) -> str:
        """Name of the image."""
        return self.inputs[0]

    def uses(self) -> Counter[str]:
        """How often each value is read, by nodes or as an output."""
        uses = Counter(name for node in self.nodes for name in node.inputs if name)
        uses.update(self.outputs)
        return uses


def import_onnx() -> Any:
    """The `onnx` library.

    Raises:
        BackendUnavailable: It is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendUnavailable(
            f"reading ONNX graphs needs the onnx package ({error}); "
            "run `python install.py` in the pack's folder"
        ) from error
    return onnx


def is_image_alone(inputs: Sequence[str]) -> bool:
    """Whether one image is all that a graph with inputs of these names takes, margins aside."""
    return len(inputs) > 0 and all(
        name.startswith(MARGIN_INPUT) == bool(place) for place, name in enumerate(inputs)
    )


def read_model(path: Path) -> Any:
    """Reads an ONNX file into onnx's own `ModelProto`.

    Raises:
        ModelError: It is not one.
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} can't be read as an ONNX graph ({error}); delete it and download it again"
        ) from error


def self_contained(path: Path) -> str | bytes:
    """An ONNX file for an engine to open: its path, or the graph with all its weights inside.

    Engines map files of external data into memory, and would go on with whatever is written to them
    later, or end the process when they are cut short.

    Raises:
        ModelError: A file of external data is not there, or the graph can't be read.
        BackendUnavailable: There is external data, and the onnx package is not installed.
    """
    states = model_states(path)
    size_bytes = sum(state.size for state in states)
    if len(states) == 1 or size_bytes > _MOST_MESSAGE_BYTES:
        return source_for_libraries(path)
    return read_model(path).SerializeToString()


def graph_of(model: Any, name: str) -> Graph:
    """Turns a `ModelProto` into a `Graph`.

    Raises:
        ModelError: It has several inputs.
    """
    onnx = import_onnx()
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    outputs = tuple(value.name for value in model.graph.output)
    nodes = []
    for proto in model.graph.node:
        attributes = {a.name: _value(onnx, a) for a in proto.attribute}
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(attributes)
            continue
        renamed = _renamed(
            onnx, proto.op_type, attributes, constants.get(next(iter(proto.input), ""))
        )
        if renamed is not None and proto.output[0] not in outputs:
            constants[proto.output[0]] = renamed
            continue
        nodes.append(
            Node(proto.op_type, proto.name, tuple(proto.input), tuple(proto.output), attributes)
        )
    inputs = tuple(value.name for value in model.graph.input if value.name not in constants)
    if not is_image_alone(inputs):
        raise ModelError(f"{name} has inputs {list(inputs)}, expected one image")
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Graph(name, inputs, outputs, tuple(nodes), constants, opset)


def _renamed(
    onnx: Any, op: str, attributes: Mapping[str, Any], constant: np.ndarray | None
) -> np.ndarray | None:
    """What a node makes of a constant that only passes on under another name, or as another type.

    Exporters write weights that several layers share once; converters to half precision put what
    operators want in full precision behind a cast. None where a node does more.
    """
    if constant is None or op == "Identity":
        return constant
    if op != "Cast":
        return None
    target = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    return (
        constant.astype(target) if target.kind in "fiu" and constant.dtype.kind in "fiu" else None
    )


def _value(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _constant(attributes: Mapping[str, Any]) -> np.ndarray:
    name, value = next(iter(attributes.items()))
    dtype = {"value_float": np.float32, "value_floats": np.float32}.get(name)
    dtype = dtype or ({"value_int": np.int64, "value_ints": np.int64}.get(name))
    return np.asarray(value, dtype=dtype)


def fold_batch_norms(graph: Graph) -> Graph:
    """Merges every batch normalisation that follows a convolution into its weights.

    `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta` is a convolution again, with scaled
    weights and another bias: one pass over memory less each time, and the same numbers to the last
    digits of float32.
    """
    uses = graph.uses()
    constants = dict(graph.constants)
    convolutions: dict[str, int] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else ""
        place = convolutions.get(source)
        if node.op == "BatchNormalization" and place is not None and uses[source] == 1:
            nodes[place] = _fold(nodes[place], node, constants)
            convolutions[node.outputs[0]] = place
            continue
        if node.op == "Conv" and all(name in constants for name in node.inputs[1:] if name):
            convolutions[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _fold(conv: Node, norm: Node, constants: dict[str, np.ndarray]) -> Node:
    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in norm.inputs[1:5])
    scale = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    image, kernel, *offset = conv.inputs
    weight = constants[kernel].astype(np.float64)
    bias = constants[offset[0]].astype(np.float64) if offset and offset[0] else 0.0
    # New names: the old weights may be shared with another node.
    weight_name, bias_name = f"{norm.outputs[0]}:weight", f"{norm.outputs[0]}:bias"
    constants[weight_name] = (weight * scale.reshape(-1, 1, 1, 1)).astype(np.float32)
    constants[bias_name] = ((bias - mean) * scale + beta).astype(np.float32)
    return replace(conv, inputs=(image, weight_name, bias_name), outputs=norm.outputs[:1])
