"""A graph with the inputs, outputs and first nodes of SFace's, and random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DIMENSIONS = 128


def write_sface(path: Path, seed: int = 0) -> Path:
    """`data [1,3,112,112]` 0..255 RGB -> `fc1 [1,128]`: it subtracts 127.5 and scales by itself."""
    random = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    x = node("Sub", ["data", constant("scalar_op1", np.array([127.5]))], "centred")
    x = node("Mul", [x, constant("scalar_op2", np.array([0.0078125]))], "scaled")
    channels = 3
    for layer, more in enumerate((16, 32, 32, 64)):
        kernel = random.normal(0, (2 / (9 * channels)) ** 0.5, (more, channels, 3, 3))
        inputs = [x, constant(f"kernel{layer}", kernel), constant(f"bias{layer}", np.zeros(more))]
        sides = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        x = node("Conv", inputs, f"conv{layer}", **sides)
        slope = constant(f"slope{layer}", np.full((more, 1, 1), 0.25))
        x = node("PRelu", [x, slope], f"relu{layer}")
        channels = more
    x = node("Flatten", [x], "flat", axis=1)
    matrix = random.normal(0, 0.02, (DIMENSIONS, channels * 7 * 7))
    inputs = [x, constant("fc", matrix), constant("fc_bias", random.normal(0, 0.1, DIMENSIONS))]
    node("Gemm", inputs, "fc1", transB=1)
    graph = helper.make_graph(
        nodes,
        "sface",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, DIMENSIONS])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path
