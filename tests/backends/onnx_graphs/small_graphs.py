"""Small graphs that end, or begin, the way released ones do; random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = (1, 4, 10)


def detector(
    *,
    rank: int = 2,
    outputs: int = 9,
    size_hw: tuple[int | str, int | str] = ("?", "?"),
    opset: int = 11,
    leading: int = -1,
    shape_as_node: bool = False,
    permutation: Sequence[int] | None = None,
) -> Any:
    """A detector with SCRFD's kinds of tail: convolution, transpose, reshape, sigmoid on scores.

    Args:
        rank: Of the outputs: 2 for `[anchors, C]`, 3 for `[1, anchors, C]`.
        outputs: 6, 9, 10 or 15.
        size_hw: Fixed numbers, or names of open axes.
        leading: First number of a 3-D reshape: 1 where exporters baked the batch in.
        shape_as_node: Gives the reshapes' targets by Constant nodes instead of initialisers.
        permutation: Of the transposes; by default the released one for the rank.
    """
    random = np.random.default_rng(0)
    strides = (8, 16, 32) if outputs in (6, 9) else (8, 16, 32, 64, 128)
    anchors = 2 if outputs in (6, 9) else 1
    kinds = outputs // len(strides)
    order = list(permutation or ((2, 3, 0, 1) if rank == 2 else (0, 2, 3, 1)))
    nodes, constants, names, shapes = [], {}, [], []
    for kind in range(kinds):
        channels = CHANNELS[kind]
        target = np.array([-1, channels] if rank == 2 else [leading, -1, channels], dtype=np.int64)
        if rank == 3 and leading == -1:
            target = np.array([1, -1, channels], dtype=np.int64)
        shape_name = f"target_{kind}"
        if shape_as_node:
            value = numpy_helper.from_array(target)
            nodes.append(helper.make_node("Constant", [], [shape_name], value=value))
        else:
            constants[shape_name] = target
        for stride in strides:
            name = f"{kind}_{stride}"
            weight = random.normal(0, 0.2, (channels * anchors, 3, 3, 3)).astype(np.float32)
            constants[f"w{name}"] = weight
            nodes += [
                helper.make_node("Conv", ["image", f"w{name}"], [f"c{name}"],
                                 strides=[stride, stride], pads=[1, 1, 1, 1]),
                helper.make_node("Transpose", [f"c{name}"], [f"t{name}"], perm=order),
                helper.make_node("Reshape", [f"t{name}", shape_name],
                                 [f"r{name}" if kind == 0 else f"o{name}"]),
            ]  # fmt: skip
            if kind == 0:
                nodes.append(helper.make_node("Sigmoid", [f"r{name}"], [f"o{name}"]))
            names.append(f"o{name}")
            shapes.append(["anchors", channels] if rank == 2 else [1, "anchors", channels])
    return model_of(nodes, constants, [1, 3, *size_hw], names, shapes, opset)


def embedder(tail: str, *, size: int = 112, batch: int | str = 1, opset: int = 11) -> Any:
    """A recogniser that flattens its features in one of the ways exporters do.

    Args:
        tail: `flatten`, `reshape_baked` (1, -1), `reshape_open` (-1, D), `batch_norm`, or
            `mixes_images` for one that no rewriting can mend.
    """
    random = np.random.default_rng(1)
    side = -(-size // 16)
    features = 4 * side * side
    constants: dict[str, np.ndarray] = {
        "w": random.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32),
        "matrix": random.normal(0, 0.1, (features, 16)).astype(np.float32),
        "slope": random.random((4, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], strides=[16, 16], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c", "slope"], ["p"]),
    ]
    source = "p"
    if tail == "batch_norm":
        for name, values in {
            "gain": random.random(4) + 0.5,
            "shift": random.normal(size=4),
            "mean": random.normal(size=4),
            "variance": random.random(4) + 0.5,
        }.items():
            constants[name] = values.astype(np.float32)
        inputs = ["c", "gain", "shift", "mean", "variance"]
        nodes.insert(1, helper.make_node("BatchNormalization", inputs, ["n"]))
        nodes[2].input[0] = "n"
    if tail in ("flatten", "batch_norm"):
        nodes.append(helper.make_node("Flatten", [source], ["f"]))
    elif tail == "mixes_images":
        constants["target"] = np.array([1, features], dtype=np.int64)
        nodes.append(helper.make_node("GlobalAveragePool", [source], ["g"]))
        nodes.append(helper.make_node("ReduceMean", ["p"], ["m"], axes=[0], keepdims=1))
        nodes.append(helper.make_node("Add", ["p", "m"], ["a"]))
        nodes.append(helper.make_node("Reshape", ["a", "target"], ["f"]))
    else:
        shape = {"reshape_baked": [1, -1], "reshape_open": [-1, features]}[tail]
        constants["target"] = np.array(shape, dtype=np.int64)
        nodes.append(helper.make_node("Reshape", [source, "target"], ["f"]))
    nodes.append(helper.make_node("Gemm", ["f", "matrix"], ["embedding"]))
    return model_of(nodes, constants, [batch, 3, size, size], ["embedding"], [[batch, 16]], opset)


def model_of(
    nodes: list,
    constants: dict[str, np.ndarray],
    input_shape: list,
    outputs: list[str],
    output_shapes: list[list],
    opset: int,
) -> Any:
    """A checked `ModelProto` with the input `image`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(outputs, output_shapes, strict=True)
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(model)
    return model


def in_onnxruntime(model: Any, images: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime gives on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {session.get_inputs()[0].name: images})
    return [np.asarray(output) for output in outputs]
