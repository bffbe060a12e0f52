"""The ONNX operators that face networks are made of, as torch operations.

A closed set: an operator that is not here is an error that names it, never a guess. Each entry of
`OPERATORS` takes a node and its constants and gives the operation on its other inputs.

Two kinds of values flow: images and features as tensors on the device, and shapes as numpy integers
on the host, so that working out a size never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import image_operators as images
from . import shape_operators as shapes
from .fuse_convolutions import FUSED_CONV
from .layers import Build, Layer, Operation, Value, of_one_kind
from .onednn_convolution import onednn_convolution


def _arithmetic(operation: Operation) -> Callable[[Build], Layer]:
    def build_arithmetic(build: Build) -> Layer:
        def run(*inputs: Value) -> Value:
            return operation(*of_one_kind(inputs))

        return Layer(run)

    return build_arithmetic


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether their sum is such as they are: nothing is spread over a larger one or promoted."""
    return a.shape == b.shape and a.dtype == b.dtype


def _add(build: Build) -> Layer:
    spent = build.spent

    def run(a: Value, b: Value) -> Value:
        if spent and isinstance(a, Tensor) and isinstance(b, Tensor) and _alike(a, b):
            return a.add_(b) if 0 in spent else b.add_(a)
        a, b = of_one_kind((a, b))
        return a + b  # type: ignore[operator]

    return Layer(run)


def _relu(build: Build) -> Layer:
    return Layer(torch.relu_ if build.spent else F.relu)


def _clip(build: Build) -> Layer:
    low, high = build.attribute("min"), build.attribute("max")
    if build.opset >= 11:
        bounds = (build.constant(1), build.constant(2))
        low, high = (None if bound is None else float(bound.reshape(-1)[0]) for bound in bounds)
    return Layer(lambda x: (x.clamp_ if build.spent else x.clamp)(low, high))


def _divided(a: Value, b: Value) -> Value:
    whole = all(isinstance(value, np.ndarray) and value.dtype.kind in "iu" for value in (a, b))
    # ONNX divides whole numbers towards zero; sizes are not negative, so that is downwards.
    return a // b if whole else a / b  # type: ignore[operator]


def _hard_sigmoid(build: Build) -> Layer:
    alpha, beta = build.attribute("alpha", 0.2), build.attribute("beta", 0.5)
    return Layer(lambda x: (x * alpha + beta).clamp(0, 1))


def _leaky_relu(build: Build) -> Layer:
    alpha = build.attribute("alpha", 0.01)
    return Layer(lambda x: F.leaky_relu(x, alpha))


def _identity(build: Build) -> Layer:
    return Layer(lambda x: x)


def _softmax(build: Build) -> Layer:
    if build.opset >= 13:
        axis = build.attribute("axis", -1)
        return Layer(lambda x: x.softmax(axis))
    # Older ones took all axes from this one on together.
    first = build.attribute("axis", 1)
    return Layer(lambda x: x.flatten(first).softmax(-1).view(x.shape))


def _reduce_mean(build: Build) -> Layer:
    axes = build.fixed(1, "axes")
    keep = bool(build.attribute("keepdims", 1))
    return Layer(lambda x: x.mean(axes, keepdim=keep))


#: Places of inputs that an operator binds when it is built, by operator; the rest flow at run time.
BOUND_INPUTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Conv": (1, 2),
    FUSED_CONV: (1, 2),
    "Expand": (1,),
    "Gather": (1,),
    "Gemm": (1, 2),
    "PRelu": (1,),
    "Pad": (1, 2),
    "ReduceMean": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}

OPERATORS: dict[str, Callable[[Build], Layer]] = {
    "Add": _add,
    "AveragePool": images.average_pool,
    "BatchNormalization": images.batch_norm,
    "Cast": shapes.cast,
    "Clip": _clip,
    "Concat": shapes.concat,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": images.conv,
    "Div": _arithmetic(_divided),
    "Dropout": _identity,
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    FUSED_CONV: onednn_convolution,
    "Floor": _arithmetic(lambda a: np.floor(a) if isinstance(a, np.ndarray) else a.floor()),
    "Gather": shapes.gather,
    "Gemm": images.gemm,
    "GlobalAveragePool": lambda build: Layer(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _arithmetic(F.hardswish),
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "MatMul": _arithmetic(lambda a, b: a @ b),
    "MaxPool": images.max_pool,
    "Mul": _arithmetic(lambda a, b: a * b),
    "PRelu": images.prelu,
    "Pad": images.pad,
    "Pow": _arithmetic(lambda a, b: a**b),
    "Range": shapes.number_range,
    "ReduceMean": _reduce_mean,
    "Relu": _relu,
    "Reshape": shapes.reshape,
    "Resize": images.resize,
    "Shape": lambda build: Layer(lambda x: np.array(x.shape, dtype=np.int64)),
    "Sigmoid": _arithmetic(torch.sigmoid),
    "Slice": shapes.strided_slice,
    "Softmax": _softmax,
    "Split": shapes.split,
    "Sqrt": _arithmetic(torch.sqrt),
    "Squeeze": shapes.squeeze,
    "Sub": _arithmetic(lambda a, b: a - b),
    "Tanh": _arithmetic(torch.tanh),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": images.resize,
}

#: Operators whose result lies in memory of its own, or in that of an input that was theirs to take.
#: Not those that may hand on what they got, whole or in part, such as Identity, Reshape and Slice.
FRESH_OUTPUT_OPS = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Clip", "Conv", FUSED_CONV, "MaxPool", "Relu"}
)
