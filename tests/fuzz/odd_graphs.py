"""Damage to networks as protobuf has them: graphs that parse, and are wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

#: Sizes that no axis should have.
_SIZES = (
    0,
    1,
    2,
    3,
    7,
    31,
    255,
    4096,
    1 << 20,
    1 << 31,
    1 << 40,
    (1 << 63) - 1,
    -1,
    -2,
    -(1 << 63),
)
_OPERATORS = (
    "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip",
    "Compress", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "CumSum",
    "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Einsum", "Equal", "Erf", "Exp", "Expand",
    "EyeLike", "Flatten", "Floor", "Gather", "GatherND", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "If", "InstanceNormalization", "LSTM",
    "LeakyRelu",
    "LogSoftmax", "Loop", "MatMul", "Max", "MaxPool", "MeanVarianceNormalization", "Mul", "NonZero",
    "Not", "OneHot", "PRelu", "Pad", "Pow", "QuantizeLinear", "RandomNormal", "Range", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "Scan", "ScatterElements", "Shape", "Sigmoid", "Size",
    "Slice", "Softmax", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "TopK",
    "Transpose", "Unsqueeze", "Upsample", "Where", "NoSuchOperator", "",
)  # fmt: skip


def mutated(model: Any, chance: random.Random, most: int = 3) -> bytes:
    """The bytes of a copy of an `onnx.ModelProto` with one to `most` faults."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(chance.randint(1, most)):
        chance.choice(_FAULTS)(copy, chance)
    return copy.SerializeToString()


def _some(entries: Sequence[Any], chance: random.Random) -> Any:
    return chance.choice(entries) if len(entries) else None


def _names(model: Any) -> list[str]:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    names += [entry.name for entry in (*graph.initializer, *graph.input, *graph.output)]
    return [*names, "", "nowhere"]


def _rename(model: Any, chance: random.Random) -> None:
    node = _some(model.graph.node, chance)
    ends = node and chance.choice((node.input, node.output))
    if ends:
        ends[chance.randrange(len(ends))] = chance.choice(_names(model))


def _more_or_fewer_ends(model: Any, chance: random.Random) -> None:
    node = _some(model.graph.node, chance)
    if node is None:
        return
    ends = chance.choice((node.input, node.output))
    if ends and chance.random() < 0.6:
        del ends[chance.randrange(len(ends)) :]
    else:
        ends.append(chance.choice(_names(model)))


def _drop_node(model: Any, chance: random.Random) -> None:
    if model.graph.node:
        del model.graph.node[chance.randrange(len(model.graph.node))]


def _repeat_node(model: Any, chance: random.Random) -> None:
    node = _some(model.graph.node, chance)
    if node is not None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        model.graph.node.append(copy)


def _shuffle_nodes(model: Any, chance: random.Random) -> None:
    nodes = list(model.graph.node)
    chance.shuffle(nodes)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _operator(model: Any, chance: random.Random) -> None:
    node = _some(model.graph.node, chance)
    if node is not None:
        node.op_type = chance.choice(_OPERATORS)
        if chance.random() < 0.1:
            node.domain = chance.choice(("com.microsoft", "ai.onnx.ml", "nobody"))


def _nodes_with_attributes(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.attribute]


def _drop_attribute(model: Any, chance: random.Random) -> None:
    node = _some(_nodes_with_attributes(model), chance)
    if node is not None:
        del node.attribute[chance.randrange(len(node.attribute))]


def _rename_attribute(model: Any, chance: random.Random) -> None:
    nodes = _nodes_with_attributes(model)
    node, other = _some(nodes, chance), _some(nodes, chance)
    if node is not None:
        chance.choice(node.attribute).name = chance.choice(
            ("", "value", "sparse_value", "to", chance.choice(other.attribute).name)
        )


def _attribute_value(model: Any, chance: random.Random) -> None:
    node = _some(_nodes_with_attributes(model), chance)
    if node is None:
        return
    attribute = chance.choice(node.attribute)
    if attribute.ints:
        place = chance.randrange(len(attribute.ints))
        change = chance.randrange(3)
        if change == 0:
            del attribute.ints[place:]
        elif change == 1:
            attribute.ints.append(chance.choice(_SIZES))
        else:
            attribute.ints[place] = chance.choice(_SIZES)
    elif attribute.type == AttributeProto.INT:
        attribute.i = chance.choice(_SIZES)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    elif attribute.type == AttributeProto.STRING:
        attribute.s = chance.choice((b"", b"linear", b"cubic", b"SAME_UPPER", b"\xff\xfe", b"edge"))
    elif attribute.type == AttributeProto.TENSOR:
        _change_tensor(attribute.t, chance)


def _attribute_type(model: Any, chance: random.Random) -> None:
    node = _some(_nodes_with_attributes(model), chance)
    if node is not None:
        chance.choice(node.attribute).type = chance.choice(range(15))


def _odd_attribute(model: Any, chance: random.Random) -> None:
    node = _some(model.graph.node, chance)
    if node is None:
        return
    name = chance.choice(("axis", "axes", "perm", "kernel_shape", "group", "body", "value", "mode"))
    value: Any = chance.choice(
        (chance.choice(_SIZES), [chance.choice(_SIZES)] * 3, 0.5, "text", [0.5, 1.5], ["a", "b"])
    )
    if chance.random() < 0.2:
        inner = onnx.GraphProto()
        inner.CopyFrom(model.graph)
        del inner.initializer[:]
        value = inner
    node.attribute.append(helper.make_attribute(name, value))


def _change_tensor(tensor: Any, chance: random.Random) -> None:
    change = chance.randrange(9)
    if change == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(_SIZES)
    elif change == 1:
        tensor.dims.append(chance.choice(_SIZES))
    elif change == 2 and tensor.dims:
        del tensor.dims[chance.randrange(len(tensor.dims))]
    elif change == 3:
        tensor.data_type = chance.choice((*range(28), -1, 999))
    elif change == 4:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif change == 5:
        tensor.ClearField("raw_data")
    elif change == 6:
        tensor.raw_data = tensor.raw_data + b"\0" * chance.choice((1, 2, 4, 64))
    elif change == 7:
        tensor.float_data.extend([0.5] * chance.randrange(1, 9))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        entries = {
            "location": chance.choice(("", ".", "weights.data", "../x", "/etc/passwd", "a\0b")),
            "offset": str(chance.choice((*_SIZES, "x"))),
            "length": str(chance.choice((*_SIZES, "x"))),
        }
        for name, value in entries.items():
            if chance.random() < 0.8:
                tensor.external_data.add(key=name, value=value)


def _initializer(model: Any, chance: random.Random) -> None:
    tensor = _some(model.graph.initializer, chance)
    if tensor is not None:
        _change_tensor(tensor, chance)


def _rename_initializer(model: Any, chance: random.Random) -> None:
    tensor = _some(model.graph.initializer, chance)
    if tensor is not None:
        tensor.name = chance.choice(_names(model))


def _drop_initializer(model: Any, chance: random.Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[chance.randrange(len(model.graph.initializer))]


def _values(model: Any, chance: random.Random) -> None:
    """Weights that are numbers, but not any that a network learns."""
    tensor = _some([t for t in model.graph.initializer if t.data_type == 1 and t.raw_data], chance)
    if tensor is not None:
        count = len(tensor.raw_data) // 4
        value = chance.choice((float("nan"), float("inf"), -1e30, 1e30, 0.0, 1e-40))
        tensor.raw_data = np.full(count, value, np.float32).tobytes()


def _whole_numbers(model: Any, chance: random.Random) -> None:
    """Shapes, axes and bounds."""
    tensor = _some([t for t in model.graph.initializer if t.data_type == 7 and t.raw_data], chance)
    if tensor is not None:
        # Another change may have left half a number at the end.
        numbers = np.frombuffer(tensor.raw_data, np.int64, len(tensor.raw_data) // 8).copy()
        if len(numbers):
            numbers[chance.randrange(len(numbers))] = chance.choice(_SIZES)
            tensor.raw_data = numbers.tobytes()


def _sparse(model: Any, chance: random.Random) -> None:
    tensor = _some(model.graph.initializer, chance)
    if tensor is not None:
        dims = [chance.choice(_SIZES) for _ in range(chance.randint(1, 3))]
        values = numpy_helper.from_array(np.ones(1, np.float32), tensor.name)
        places = numpy_helper.from_array(np.zeros(1, np.int64), "")
        sparse = model.graph.sparse_initializer.add(dims=dims)
        sparse.values.CopyFrom(values)
        sparse.indices.CopyFrom(places)
        if chance.random() < 0.7:
            model.graph.initializer.remove(tensor)


def _end_dims(model: Any, chance: random.Random) -> None:
    value = _some([*model.graph.input, *model.graph.output], chance)
    if value is None:
        return
    dims = value.type.tensor_type.shape.dim
    change = chance.randrange(5)
    if change == 0 and dims:
        dims[chance.randrange(len(dims))].dim_value = chance.choice(_SIZES)
    elif change == 1 and dims:
        dims[chance.randrange(len(dims))].dim_param = chance.choice(("", "N", "?"))
    elif change == 2:
        dims.add(dim_value=chance.choice(_SIZES))
    elif change == 3 and dims:
        del dims[chance.randrange(len(dims))]
    else:
        value.type.tensor_type.elem_type = chance.choice((*range(24), -1, 999))


def _end_kind(model: Any, chance: random.Random) -> None:
    value = _some([*model.graph.input, *model.graph.output], chance)
    if value is not None:
        if chance.random() < 0.5:
            value.ClearField("type")
        else:
            value.type.sequence_type.elem_type.tensor_type.elem_type = 1


def _ends(model: Any, chance: random.Random) -> None:
    ends = chance.choice((model.graph.input, model.graph.output))
    change = chance.randrange(3)
    if change == 0 and ends:
        del ends[chance.randrange(len(ends))]
    elif change == 1:
        name = chance.choice(_names(model))
        ends.append(helper.make_tensor_value_info(name, 1, [1, 3, 112, 112]))
    elif ends:
        chance.choice(ends).name = chance.choice(_names(model))


def _versions(model: Any, chance: random.Random) -> None:
    version = chance.choice((0, 1, 6, 7, 9, 10, 12, 13, 18, 21, 99, 1 << 40, -1))
    change = chance.randrange(4)
    if change == 0:
        model.ir_version = version
    elif change == 1:
        del model.opset_import[:]
    elif change == 2:
        model.opset_import.add(
            domain=chance.choice(("", "nobody", "com.microsoft")), version=version
        )
    else:
        for entry in model.opset_import:
            entry.version = version


#: What makes something large of a small constant.
_GROWING = ("ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad", "Range", "OneHot")


def _growing(model: Any, chance: random.Random) -> None:
    """A node whose result is as large as a number in the file says, in the way of the image."""
    graph = model.graph
    nodes = [node for node in graph.node if node.input and node.input[0]]
    node = _some(nodes, chance)
    if node is None:
        return
    size = chance.choice((8, 1 << 12, 1 << 16, 1 << 20, 1 << 40))
    source, number = node.input[0], len(graph.node)

    def constant(name: str, values: Any, dtype: Any) -> str:
        graph.initializer.append(
            numpy_helper.from_array(np.array(values, dtype), f"{name}{number}")
        )
        return f"{name}{number}"

    kind, grown = chance.choice(_GROWING), f"grown{number}"
    if kind == "ConstantOfShape":
        made = helper.make_node(kind, [constant("shape", [size, size], np.int64)], [grown])
    elif kind == "Range":
        ends = [constant(f"end{i}", end, np.int64) for i, end in enumerate((0, size, 1))]
        made = helper.make_node(kind, ends, [grown])
    elif kind == "OneHot":
        inputs = [constant("at", [0], np.int64), constant("depth", [size], np.int64)]
        made = helper.make_node(kind, [*inputs, constant("both", [0, 1], np.float32)], [grown])
    elif kind == "Expand":
        made = helper.make_node(kind, [source, constant("to", [size, 1, 1, 1], np.int64)], [grown])
    elif kind == "Tile":
        made = helper.make_node(kind, [source, constant("by", [1, 1, 1, size], np.int64)], [grown])
    elif kind == "Pad":
        pads = constant("pads", [0, 0, 0, 0, 0, 0, size, size], np.int64)
        made = helper.make_node(kind, [source, pads], [grown])
    else:
        scales = constant("scales", [1, 1, size, size], np.float32)
        empty = constant("empty", [], np.float32)
        inputs = [source, scales] if kind == "Upsample" else [source, empty, scales]
        made = helper.make_node(kind, inputs, [grown], mode="nearest")
    if kind in ("ConstantOfShape", "Range", "OneHot"):
        mean, total = f"mean{number}", f"total{number}"
        cast = helper.make_node("Cast", [grown], [mean], to=1)
        shrunk = helper.make_node("ReduceMean", [mean], [total], keepdims=0)
        sum_node = helper.make_node("Add", [source, total], [f"sum{number}"])
        extra = [made, cast, shrunk, sum_node]
    else:
        extra = [made]
    node.input[0] = extra[-1].output[0]
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in graph.node]
    place = next(i for i, each in enumerate(nodes) if each.output == node.output)
    del graph.node[:]
    graph.node.extend([*nodes[:place], *extra, *nodes[place:]])


_FAULTS: tuple[Callable[[Any, random.Random], None], ...] = (
    _rename, _rename, _more_or_fewer_ends, _drop_node, _repeat_node, _shuffle_nodes, _operator,
    _operator, _drop_attribute, _rename_attribute, _attribute_value, _attribute_value,
    _attribute_type, _odd_attribute, _initializer, _initializer, _rename_initializer,
    _drop_initializer, _values, _whole_numbers, _whole_numbers, _sparse, _end_dims, _end_dims,
    _end_kind, _ends, _versions, _growing, _growing,
)  # fmt: skip
