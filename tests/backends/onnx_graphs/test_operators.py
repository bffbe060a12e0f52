"""Every operator, in each form that is known, gives what ONNX Runtime gives; others are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.fuse_convolutions import FUSED_CONV
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.onnx_graphs.operators import OPERATORS
from fastface.utils.errors import ModelError
from tests.backends.onnx_graphs.small_graphs import in_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

MAPS = (2, 4, 6, 10)
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@dataclass(frozen=True)
class Case:
    """One node: `x` is the image, the other inputs are constants (None is left out)."""

    op: str
    constants: tuple[np.ndarray | None, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    shape: tuple[int, ...] = MAPS
    image_at: int = 0

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.attributes.items())
        return f"{self.op}-{self.opset}({given})"


def case(op: str, *constants: np.ndarray | None, **attributes: Any) -> Case:
    opset = attributes.pop("opset", 17)
    shape, image_at = attributes.pop("shape", MAPS), attributes.pop("image_at", 0)
    return Case(op, constants, attributes, opset, shape, image_at)


STATISTICS = (floats(4), floats(4), floats(4), positive(4))

CASES = [
    case("Add", floats(4, 1, 1)),
    case("Add", floats(1)),
    case("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    case("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1),
    case("BatchNormalization", *STATISTICS),
    case("BatchNormalization", *STATISTICS, epsilon=0.1, momentum=0.9),
    case("Cast", to=1),
    case("Clip", np.float32(-0.5).reshape(()), np.float32(0.5).reshape(())),
    case("Clip", None, np.float32(0.5).reshape(())),
    case("Clip", min=-0.5, max=0.5, opset=10),
    case("Concat", floats(2, 3, 6, 10), axis=1),
    case("Conv", floats(8, 4, 3, 3)),
    case("Conv", floats(8, 4, 3, 3), floats(8), pads=[1, 1, 1, 1], strides=[2, 2]),
    case("Conv", floats(4, 1, 3, 3), group=4, kernel_shape=[3, 3], pads=[0, 1, 1, 0]),
    case("Conv", floats(8, 4, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2], auto_pad="NOTSET"),
    case("Div", positive(4, 1, 1)),
    case("Dropout"),
    case("Expand", whole(2, 4, 6, 10), shape=(2, 1, 6, 10)),
    case("Expand", whole(4, 1, 10), shape=(2, 1, 6, 1)),
    case("Flatten"),
    case("Expand", whole(2, 4, 6, 10), shape=(2, 1, 6, 10)),
    case("Expand", whole(4, 1, 10), shape=(2, 1, 6, 1)),
    case("Flatten", axis=2),
    case("Floor"),
    case("Gather", whole(0, 2), axis=1),
    case("Gather", np.array(1, dtype=np.int64), axis=2),
    case("Gemm", floats(12, 5), shape=(3, 12, 1, 1)),
    case("Gemm", floats(5, 12), floats(5), transB=1, alpha=0.5, beta=2.0, shape=(3, 12, 1, 1)),
    case("GlobalAveragePool"),
    case("HardSigmoid"),
    case("HardSigmoid", alpha=0.25, beta=0.4),
    case("HardSwish"),
    case("Identity"),
    case("LeakyRelu"),
    case("LeakyRelu", alpha=0.3),
    case("MatMul", floats(10, 3)),
    case("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    case("MaxPool", shape=(2, 4, 6, 8), kernel_shape=[2, 2], strides=[2, 2]),
    case("MaxPool", shape=(2, 4, 6, 7), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], storage_order=0),
    case("Mul", np.float32(0.5).reshape(())),
    case("PRelu", floats(4, 1, 1)),
    case("PRelu", floats(1)),
    case("Pad", whole(0, 0, 1, 2, 0, 0, 3, 4)),
    case("Pad", whole(0, 0, 1, 1, 0, 0, 1, 1), np.float32(7).reshape(())),
    case("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=3.0, opset=10),
    case("Pow", np.float32(2).reshape(())),
    case("ReduceMean", axes=[2, 3], keepdims=0, opset=11),
    case("ReduceMean", whole(1), opset=18),
    case("Relu"),
    case("Reshape", whole(0, -1)),
    case("Reshape", whole(0, 2, -1, 10)),
    case("Resize", None, None, whole(2, 4, 12, 20), mode="nearest", nearest_mode="floor",
         coordinate_transformation_mode="asymmetric", cubic_coeff_a=-0.75),
    case("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="nearest", nearest_mode="floor",
         coordinate_transformation_mode="asymmetric"),
    case("Resize", None, None, whole(2, 4, 9, 17), mode="linear"),
    case("Resize", None, None, whole(2, 4, 12, 20), mode="linear",
         coordinate_transformation_mode="align_corners"),
    case("Shape"),
    case("Sigmoid"),
    case("Slice", whole(1, 0), whole(5, 8), whole(2, 3), whole(1, 2)),
    case("Slice", starts=[1], ends=[-1], axes=[3], opset=9),
    case("Softmax"),
    case("Softmax", axis=1),
    case("Softmax", axis=1, opset=11),
    case("Sqrt"),
    case("Squeeze", whole(1), shape=(2, 1, 6, 10)),
    case("Squeeze", axes=[1], opset=11, shape=(2, 1, 6, 10)),
    case("Sub", floats(4, 1, 1), image_at=1),
    case("Tanh"),
    case("Transpose", perm=[0, 2, 3, 1]),
    case("Unsqueeze", whole(1)),
    case("Unsqueeze", whole(-2, -1)),
    case("Unsqueeze", axes=[0, 3], opset=11),
    case("Upsample", np.array([1, 1, 2, 2], np.float32), mode="nearest", opset=9),
]  # fmt: skip

REFUSED = [
    (case("Conv", floats(8, 4, 3, 3), auto_pad="SAME_UPPER"), "auto_pad = 'SAME_UPPER'"),
    (case("Conv", floats(8, 4, 3), shape=(2, 4, 6, 1)), "3 axes, expected 4"),
    (case("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_LOWER"), "auto_pad = 'SAME_LOWER'"),
    (case("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), r"dilations = \[2, 2\]"),
    (case("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1]), "uneven padding"),
    (case("Gemm", floats(2, 5), transA=1, shape=(2, 12, 1, 1)), "transA"),
    (case("Pad", whole(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), "'reflect'"),
    (case("Pad", whole(1, 1), None, whole(3), opset=18), "input 3"),
    (case("Reshape", whole(2, 240), allowzero=1), "allowzero"),
    (case("Resize", None, None, whole(2, 4, 3, 5), mode="cubic"), "'cubic'"),
    (case("Resize", None, None, whole(2, 4, 3, 5), mode="linear", antialias=1, opset=18),
     "antialias = 1"),
    (case("Cast", to=9), "element type 9"),
]  # fmt: skip


def model_of(case: Case) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    names = [None if value is None else f"c{place}" for place, value in enumerate(case.constants)]
    inputs = [name or "" for name in names]
    inputs.insert(case.image_at, "x")
    nodes = [helper.make_node(case.op, inputs, ["y"], name="the_node", **case.attributes)]
    if case.op == "Gemm":  # of a network only the input is an image
        nodes.insert(0, helper.make_node("Flatten", ["x"], ["flat"]))
        nodes[1].input[case.image_at] = "flat"
    kind = TensorProto.INT64 if case.op == "Shape" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(case.shape))],
        [helper.make_tensor_value_info("y", kind, None)],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(names, case.constants, strict=True)
            if name
        ],
    )
    imports = [helper.make_opsetid("", case.opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_every_operator_has_a_case() -> None:
    others = {"ConstantOfShape", "Range", "Split"}  # see `test_places_worked_out_of_the_input`
    ours = {FUSED_CONV}  # see `test_fuse_convolutions.py`
    assert {case.op for case in CASES} | others | ours == OPERATORS.keys()


@pytest.mark.parametrize("size_hw", [(6, 10), (5, 7)])
def test_places_worked_out_of_the_input(size_hw: tuple[int, int]) -> None:
    """As detectors are exported that take any size: a grid, and parts of the channels."""
    node = onnx.helper.make_node
    constants = {
        "sizes": whole(1, 3), "two": whole(2), "three": whole(3), "four": whole(4),
        "zero": np.array(0), "one": np.array(1), "half": np.array(0.5, np.float32),
    }  # fmt: skip
    nodes = [
        node("Split", ["x", "sizes"], ["first", "rest"], axis=1),
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "three", "four"], ["width in a row"]),
        node("Squeeze", ["width in a row"], ["width"]),
        node("Range", ["zero", "width", "one"], ["columns"]),
        node("Cast", ["columns"], ["places"], to=1),
        node("Add", ["places", "half"], ["centres"]),
        node("Slice", ["shape", "two", "four"], ["size"]),
        node("Expand", ["centres", "size"], ["grid"]),
        node("ConstantOfShape", ["size"], ["eights"],
             value=onnx.numpy_helper.from_array(np.array([8], np.float32))),
        node("Mul", ["grid", "eights"], ["pixels"]),
        node("Sub", ["rest", "pixels"], ["offsets"]),
        node("Slice", ["offsets", "one in a row", "width in a row", "three"], ["tail"]),
        node("Concat", ["first", "offsets"], ["joined"], axis=1),
    ]  # fmt: skip
    constants["one in a row"] = whole(1)
    graph = onnx.helper.make_graph(
        nodes,
        "grid",
        [onnx.helper.make_tensor_value_info("x", 1, [2, 4, None, None])],
        [onnx.helper.make_tensor_value_info(name, 1, [None] * 4) for name in ("joined", "tail")],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
    x = floats(2, 4, *size_hw)
    with torch.inference_mode():
        found = Network(graph_of(model, "grid"))(torch.from_numpy(x))
    for got, expected in zip(found, in_onnxruntime(model, x), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_onnxruntime(case: Case) -> None:
    model = model_of(case)
    x = positive(*case.shape) if case.op in ("Pow", "Sqrt") else floats(*case.shape)
    (expected,) = in_onnxruntime(model, x)
    with torch.inference_mode():
        (got,) = Network(graph_of(model, "one"))(torch.from_numpy(x))
    got = got if isinstance(got, np.ndarray) else got.numpy()
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("case", "said"), REFUSED, ids=str)
def test_what_is_not_known_is_refused_with_its_node(case: Case, said: str) -> None:
    with pytest.raises(ModelError, match=rf"{case.op} node 'the_node' .*{said}.*onnxruntime"):
        Network(graph_of(model_of(case), "one"))
