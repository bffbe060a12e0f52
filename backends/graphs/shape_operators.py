"""ONNX operators that rearrange values, and work on shapes as numpy integers on the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .layers import Build, Layer, Value, with_last_constant


def reshape(build: Build) -> Layer:
    if build.attribute("allowzero", 0):
        raise build.refused("allowzero")

    def run(x: Value, shape: np.ndarray) -> Value:
        # 0 keeps the axis of the input.
        sizes = [x.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
        return x.reshape(sizes)

    return with_last_constant(build, 1, run)


def flatten(build: Build) -> Layer:
    axis = build.attribute("axis", 1)
    return Layer(lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1))


def transpose(build: Build) -> Layer:
    order = build.attribute("perm")
    if order is None:
        raise build.refused("no perm")
    return Layer(lambda x: x.permute(*order) if isinstance(x, Tensor) else x.transpose(order))


def unsqueeze(build: Build) -> Layer:
    axes = build.fixed(1, "axes") or []

    def run(x: Value) -> Value:
        rank = len(x.shape) + len(axes)
        # From the front, so that the axes put in before count as those of the result.
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
        return x

    return Layer(run)


def squeeze(build: Build) -> Layer:
    axes = build.fixed(1, "axes")

    def run(x: Value) -> Value:
        dims = tuple(axes) if axes else tuple(i for i, n in enumerate(x.shape) if n == 1)
        return x.squeeze(dims)

    return Layer(run)


def concat(build: Build) -> Layer:
    axis = build.attribute("axis")

    def run(*parts: Value) -> Value:
        if isinstance(parts[0], Tensor):
            return torch.cat(parts, axis)  # type: ignore[arg-type]
        return np.concatenate(parts, axis)  # type: ignore[arg-type]

    return Layer(run)


def gather(build: Build) -> Layer:
    axis = build.attribute("axis", 0)

    def run(x: Value, indices: np.ndarray) -> Value:
        if isinstance(x, Tensor):
            places = torch.tensor(indices, device=x.device)
            return x.index_select(axis, places.reshape(-1)).reshape(
                *x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]
            )
        return np.take(x, indices, axis)

    return with_last_constant(build, 1, run)


def strided_slice(build: Build) -> Layer:
    starts, ends = build.fixed(1, "starts"), build.fixed(2, "ends")
    if starts is None or ends is None:
        raise build.refused("it has no bounds")
    axes = build.fixed(3, "axes") or list(range(len(starts)))
    steps = build.fixed(4, "steps") or [1] * len(starts)

    def run(x: Value) -> Value:
        places = [slice(None)] * len(x.shape)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if step < 0 and isinstance(x, Tensor):
                raise build.refused("a negative step")
            places[axis] = slice(start, end, step)
        return x[tuple(places)]

    return Layer(run)


def cast(build: Build) -> Layer:
    kind = {1: "float", 6: "int", 7: "int", 10: "float", 11: "float"}.get(build.attribute("to"))
    if kind is None:
        raise build.refused(f"element type {build.attribute('to')}")

    def run(x: Value, like: Tensor) -> Value:
        if isinstance(x, np.ndarray):
            return x.astype(np.float32 if kind == "float" else np.int64)
        # Floating values follow the precision the network runs in, not the one it was saved in.
        return x.to(like.dtype if kind == "float" else torch.int64)

    return Layer(run, like=np.zeros(1, np.float32))
