"""ONNX operators on images and features: convolution, pooling, normalisation, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import Build, Layer, Operation, with_last_constant


def conv(build: Build) -> Layer:
    weight, bias = build.required(1), build.constant(2)
    if weight.ndim != 4:
        raise build.refused(f"its weight has {weight.ndim} axes, expected 4")
    before, around = _padding(build.attribute("pads", [0, 0, 0, 0]))
    settings = {
        "stride": tuple(build.attribute("strides", [1, 1])),
        "padding": around,
        "dilation": tuple(build.attribute("dilations", [1, 1])),
        "groups": build.attribute("group", 1),
    }

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = F.pad(x, before) if before else x
        return F.conv2d(x, weight, bias, **settings)

    return Layer(run, weight=weight, bias=bias)


def _padding(pads: Sequence[int]) -> tuple[tuple[int, ...] | None, tuple[int, int]]:
    """Padding to do first, and padding both ways at once, of ONNX's top, left, bottom, right."""
    top, left, bottom, right = pads
    if top == bottom and left == right:
        return None, (top, left)
    return (left, right, top, bottom), (0, 0)


def _pool(build: Build, operation: Operation, fill: float, **extra: Any) -> Layer:
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
        return operation(x, kernel, **settings)

    return Layer(run)


def max_pool(build: Build) -> Layer:
    return _pool(build, _max_pool, float("-inf"))


def _max_pool(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    ceil_mode: bool,
) -> Tensor:
    """torch's, but for halves of even sides on the CPU: there torch's looks for places too."""
    is_halving = (*kernel, *stride, *padding) == (2, 2, 2, 2, 0, 0)
    if not is_halving or x.device.type != "cpu" or x.shape[2] % 2 or x.shape[3] % 2:
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def average_pool(build: Build) -> Layer:
    include = bool(build.attribute("count_include_pad", 0))
    return _pool(build, F.avg_pool2d, 0.0, count_include_pad=include)


def batch_norm(build: Build) -> Layer:
    epsilon = build.attribute("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, epsilon)

    return Layer(
        run,
        scale=build.required(1),
        shift=build.required(2),
        mean=build.required(3),
        variance=build.required(4),
    )


def prelu(build: Build) -> Layer:
    # ONNX broadcasts the slope from the right, as [C,1,1]; torch wants [C].
    return Layer(F.prelu, weight=build.required(1).reshape(-1))


def gemm(build: Build) -> Layer:
    weight, bias = build.required(1), build.constant(2)
    if build.attribute("transA", 0):
        raise build.refused("transA")
    weight = weight * np.float32(build.attribute("alpha", 1.0))
    weight = weight if build.attribute("transB", 0) else weight.T
    if bias is not None:
        bias = (bias * np.float32(build.attribute("beta", 1.0))).reshape(-1)
    return Layer(F.linear, weight=np.ascontiguousarray(weight), bias=bias)


def resize(build: Build) -> Layer:
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

    def run(x: Tensor, size_hw: list[int]) -> Tensor:
        return F.interpolate(x, size_hw, **how)

    inputs = build.node.inputs
    if len(inputs) > sizes_place and inputs[sizes_place]:
        return with_last_constant(
            build, sizes_place, lambda x, sizes: run(x, [int(size) for size in sizes[2:]])
        )
    scales = build.required(scales_place).reshape(-1).tolist()[2:]
    return Layer(
        lambda x: run(x, [int(side * by) for side, by in zip(x.shape[2:], scales, strict=True)])
    )


def pad(build: Build) -> Layer:
    pads = build.fixed(1, "pads") or []
    if build.attribute("mode", "constant") != "constant":
        raise build.refused(f"mode {build.attribute('mode')!r}")
    build.most_inputs(3)
    fill = build.constant(2)
    value = build.attribute("value", 0.0) if fill is None else float(fill.reshape(-1)[0])
    half = len(pads) // 2
    sides = [side for axis in reversed(range(half)) for side in (pads[axis], pads[axis + half])]
    return Layer(lambda x: F.pad(x, sides, value=value))
