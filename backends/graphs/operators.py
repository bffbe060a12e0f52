"""The ONNX operators that face networks are made of, as torch operations.

A closed set: an operator that is not here is an error that names it, never a guess. Each entry of
`OPERATORS` takes a node and its constants and gives the operation on its other inputs.

Two kinds of values flow: images and features as tensors on the device, and shapes as numpy integers
on the host, so that working out a size never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...utils.errors import ModelError
from .graph import Node

Value = Tensor | np.ndarray
Operation = Callable[..., Any]


class Layer(nn.Module):
    """An operation with its weights, so that they move and change precision with the network."""

    def __init__(self, operation: Operation, **weights: np.ndarray | None) -> None:
        """`operation` is called with the inputs, then the weights by name."""
        super().__init__()
        self._operation = operation
        self._names = [name for name, value in weights.items() if value is not None]
        for name in self._names:
            tensor = torch.from_numpy(np.array(weights[name]))
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name, tensor)

    def forward(self, *inputs: Value) -> Any:
        return self._operation(*inputs, **{name: getattr(self, name) for name in self._names})


class Build:
    """A node while it is turned into a layer.

    Attributes:
        node: The node.
        opset: Version of the operators.
    """

    def __init__(self, node: Node, constants: Mapping[str, np.ndarray], opset: int) -> None:
        self.node = node
        self.opset = opset
        self._constants = constants

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attributes.get(name, default)

    def constant(self, place: int) -> np.ndarray | None:
        """The fixed value of an input, None when it is left out.

        Raises:
            ModelError: It is not fixed.
        """
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        if not name:
            return None
        if name not in self._constants:
            raise self.refused(f"input {place} changes from run to run")
        return self._constants[name]

    def required(self, place: int) -> np.ndarray:
        value = self.constant(place)
        if value is None:
            raise self.refused(f"input {place} is missing")
        return value

    def fixed(self, place: int, attribute: str) -> list[int] | None:
        """Integers that older opsets give as an attribute and newer ones as an input."""
        if attribute in self.node.attributes:
            return list(self.node.attributes[attribute])
        value = self.constant(place)
        return None if value is None else value.reshape(-1).tolist()

    def refused(self, reason: str) -> ModelError:
        return ModelError(
            f"{self.node} can't be run in torch: {reason}; choose backend onnxruntime for this pack"
        )


def _conv(build: Build) -> Layer:
    weight, bias = build.required(1), build.constant(2)
    if weight.ndim != 4:
        raise build.refused(f"its weight has {weight.ndim} axes, expected 4")
    if build.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise build.refused(f"auto_pad {build.attribute('auto_pad')!r}")
    before, around = _padding(build.attribute("pads", [0, 0, 0, 0]))
    settings = {
        "stride": tuple(build.attribute("strides", [1, 1])),
        "padding": around,
        "dilation": tuple(build.attribute("dilations", [1, 1])),
        "groups": build.attribute("group", 1),
    }

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = F.pad(x, before) if before else x
        return F.conv2d(x, weight, bias, **settings)

    return Layer(conv, weight=weight, bias=bias)


def _padding(pads: Sequence[int]) -> tuple[tuple[int, ...] | None, tuple[int, int]]:
    """Padding to do first, and padding both ways at once, of ONNX's top, left, bottom, right."""
    top, left, bottom, right = pads
    if top == bottom and left == right:
        return None, (top, left)
    return (left, right, top, bottom), (0, 0)


def _pool(build: Build, pool: Operation, fill: float, **extra: Any) -> Layer:
    before, around = _padding(build.attribute("pads", [0, 0, 0, 0]))
    if before and extra:
        raise build.refused("uneven padding")
    kernel = tuple(build.attribute("kernel_shape"))
    settings = {
        "stride": tuple(build.attribute("strides", [1, 1])),
        "padding": around,
        "ceil_mode": bool(build.attribute("ceil_mode", 0)),
        **extra,
    }

    def run(x: Tensor) -> Tensor:
        x = F.pad(x, before, value=fill) if before else x
        return pool(x, kernel, **settings)

    return Layer(run)


def _max_pool(build: Build) -> Layer:
    return _pool(build, F.max_pool2d, float("-inf"))


def _average_pool(build: Build) -> Layer:
    include = bool(build.attribute("count_include_pad", 0))
    return _pool(build, F.avg_pool2d, 0.0, count_include_pad=include)


def _batch_norm(build: Build) -> Layer:
    epsilon = build.attribute("epsilon", 1e-5)

    def norm(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, epsilon)

    return Layer(
        norm,
        scale=build.required(1),
        shift=build.required(2),
        mean=build.required(3),
        variance=build.required(4),
    )


def _prelu(build: Build) -> Layer:
    # ONNX broadcasts the slope from the right, as [C,1,1]; torch wants [C].
    return Layer(F.prelu, weight=build.required(1).reshape(-1))


def _gemm(build: Build) -> Layer:
    weight, bias = build.required(1), build.constant(2)
    if build.attribute("transA", 0):
        raise build.refused("transA")
    weight = weight * np.float32(build.attribute("alpha", 1.0))
    weight = weight if build.attribute("transB", 0) else weight.T
    if bias is not None:
        bias = (bias * np.float32(build.attribute("beta", 1.0))).reshape(-1)
    return Layer(F.linear, weight=np.ascontiguousarray(weight), bias=bias)


def _arithmetic(operation: Operation) -> Callable[[Build], Layer]:
    def build_arithmetic(build: Build) -> Layer:
        def run(*inputs: Value) -> Value:
            return operation(*inputs)

        return Layer(run)

    return build_arithmetic


def _clip(build: Build) -> Layer:
    low, high = build.attribute("min"), build.attribute("max")
    if build.opset >= 11:
        bounds = (build.constant(1), build.constant(2))
        low, high = (None if bound is None else float(bound.reshape(-1)[0]) for bound in bounds)
    return Layer(lambda x: x.clamp(low, high))


def _reshape(build: Build) -> Layer:
    if build.attribute("allowzero", 0):
        raise build.refused("allowzero")

    def reshape(x: Value, shape: np.ndarray) -> Value:
        # 0 keeps the axis of the input.
        sizes = [x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
        return x.reshape(sizes)

    return _with_last_constant(build, 1, reshape)


def _with_last_constant(build: Build, place: int, operation: Operation) -> Layer:
    """Binds an integer input now where it is fixed, else leaves it to the run."""
    try:
        fixed = build.required(place)
    except ModelError:
        return Layer(operation)
    return Layer(lambda *inputs: operation(*inputs, fixed))


def _flatten(build: Build) -> Layer:
    axis = build.attribute("axis", 1)
    return Layer(lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1))


def _transpose(build: Build) -> Layer:
    order = build.attribute("perm")
    if order is None:
        raise build.refused("no perm")
    return Layer(lambda x: x.permute(*order) if isinstance(x, Tensor) else x.transpose(order))


def _unsqueeze(build: Build) -> Layer:
    axes = build.fixed(1, "axes") or []

    def unsqueeze(x: Value) -> Value:
        for axis in sorted(axes):
            x = x.unsqueeze(axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
        return x

    return Layer(unsqueeze)


def _squeeze(build: Build) -> Layer:
    axes = build.fixed(1, "axes")

    def squeeze(x: Value) -> Value:
        dims = tuple(axes) if axes else tuple(i for i, n in enumerate(x.shape) if n == 1)
        return x.squeeze(dims)

    return Layer(squeeze)


def _concat(build: Build) -> Layer:
    axis = build.attribute("axis")

    def concat(*parts: Value) -> Value:
        if isinstance(parts[0], Tensor):
            return torch.cat(parts, axis)  # type: ignore[arg-type]
        return np.concatenate(parts, axis)  # type: ignore[arg-type]

    return Layer(concat)


def _gather(build: Build) -> Layer:
    axis = build.attribute("axis", 0)

    def gather(x: Value, indices: np.ndarray) -> Value:
        if isinstance(x, Tensor):
            places = torch.as_tensor(indices, device=x.device)
            return x.index_select(axis, places.reshape(-1)).reshape(
                *x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]
            )
        return np.take(x, indices, axis)

    return _with_last_constant(build, 1, gather)


def _slice(build: Build) -> Layer:
    starts, ends = build.fixed(1, "starts"), build.fixed(2, "ends")
    if starts is None or ends is None:
        raise build.refused("it has no bounds")
    axes = build.fixed(3, "axes") or list(range(len(starts)))
    steps = build.fixed(4, "steps") or [1] * len(starts)

    def cut(x: Value) -> Value:
        places = [slice(None)] * len(x.shape)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if step < 0 and isinstance(x, Tensor):
                raise build.refused("a negative step")
            places[axis] = slice(start, end, step)
        return x[tuple(places)]

    return Layer(cut)


def _resize(build: Build) -> Layer:
    mode = build.attribute("mode", "nearest")
    transform = build.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = build.attribute("nearest_mode", "round_prefer_floor")
    how: dict[str, Any] | None = {
        ("nearest", "asymmetric", "floor"): {"mode": "nearest"},
        ("linear", "half_pixel", nearest): {"mode": "bilinear", "align_corners": False},
        ("linear", "pytorch_half_pixel", nearest): {"mode": "bilinear", "align_corners": False},
        ("linear", "align_corners", nearest): {"mode": "bilinear", "align_corners": True},
    }.get((mode, transform, nearest))
    if build.node.op == "Upsample":
        how = {"mode": "nearest"} if mode == "nearest" else None
    if how is None:
        raise build.refused(f"mode {mode!r} with {transform!r} and {nearest!r}")
    scales_place, sizes_place = (1, 9) if build.node.op == "Upsample" else (2, 3)

    def resize(x: Tensor, size_hw: list[int]) -> Tensor:
        return F.interpolate(x, size_hw, **how)

    inputs = build.node.inputs
    if len(inputs) > sizes_place and inputs[sizes_place]:
        return _with_last_constant(
            build, sizes_place, lambda x, sizes: resize(x, [int(size) for size in sizes[2:]])
        )
    scales = build.required(scales_place).reshape(-1).tolist()[2:]
    return Layer(
        lambda x: resize(x, [int(side * by) for side, by in zip(x.shape[2:], scales, strict=True)])
    )


def _cast(build: Build) -> Layer:
    kind = {1: "float", 6: "int", 7: "int", 10: "float", 11: "float"}.get(build.attribute("to"))
    if kind is None:
        raise build.refused(f"element type {build.attribute('to')}")

    def cast(x: Value, like: Tensor) -> Value:
        if isinstance(x, np.ndarray):
            return x.astype(np.float32 if kind == "float" else np.int64)
        # Floating values follow the precision the network runs in, not the one it was saved in.
        return x.to(like.dtype if kind == "float" else torch.int64)

    return Layer(cast, like=np.zeros(1, np.float32))


def _identity(build: Build) -> Layer:
    return Layer(lambda x: x)


def _softmax(build: Build) -> Layer:
    axis = build.attribute("axis", -1 if build.opset >= 13 else 1)
    return Layer(lambda x: x.softmax(axis))


def _reduce_mean(build: Build) -> Layer:
    axes = build.fixed(1, "axes")
    keep = bool(build.attribute("keepdims", 1))
    return Layer(lambda x: x.mean(axes, keepdim=keep))


def _pad(build: Build) -> Layer:
    pads = build.fixed(1, "pads") or []
    if build.attribute("mode", "constant") != "constant":
        raise build.refused(f"mode {build.attribute('mode')!r}")
    half = len(pads) // 2
    sides = [side for axis in reversed(range(half)) for side in (pads[axis], pads[axis + half])]
    return Layer(lambda x: F.pad(x, sides))


#: Places of inputs that an operator binds when it is built, by operator; the rest flow at run time.
BOUND_INPUTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "Conv": (1, 2),
    "Gather": (1,),
    "Gemm": (1, 2),
    "PRelu": (1,),
    "Pad": (1, 2),
    "ReduceMean": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}

OPERATORS: dict[str, Callable[[Build], Layer]] = {
    "Add": _arithmetic(lambda a, b: a + b),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _arithmetic(lambda a, b: a // b if isinstance(a, np.ndarray) else a / b),
    "Dropout": _identity,
    "Flatten": _flatten,
    "Floor": _arithmetic(lambda a: np.floor(a) if isinstance(a, np.ndarray) else a.floor()),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda build: Layer(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda build: Layer(
        lambda x: (x * build.attribute("alpha", 0.2) + build.attribute("beta", 0.5)).clamp(0, 1)
    ),
    "HardSwish": _arithmetic(F.hardswish),
    "Identity": _identity,
    "LeakyRelu": lambda build: Layer(lambda x: F.leaky_relu(x, build.attribute("alpha", 0.01))),
    "MatMul": _arithmetic(lambda a, b: a @ b),
    "MaxPool": _max_pool,
    "Mul": _arithmetic(lambda a, b: a * b),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _arithmetic(lambda a, b: a**b),
    "ReduceMean": _reduce_mean,
    "Relu": _arithmetic(F.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda build: Layer(lambda x: np.array(x.shape, dtype=np.int64)),
    "Sigmoid": _arithmetic(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _arithmetic(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _arithmetic(lambda a, b: a - b),
    "Tanh": _arithmetic(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
