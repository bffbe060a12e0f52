"""ONNX operators that rearrange values, and work on shapes as numpy integers on the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .layers import Build, Layer, Value, of_one_kind, with_last_constant


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

    def run(*values: Value) -> Value:
        parts = of_one_kind(values)
        if isinstance(parts[0], Tensor):
            return torch.cat(tuple(parts), axis)  # type: ignore[arg-type]
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


#: Inputs of a slice behind the value that is cut, as older opsets name them as attributes.
_BOUNDS = ("starts", "ends", "axes", "steps")


def strided_slice(build: Build) -> Layer:
    given = {
        name: build.fixed(place, name)
        for place, name in enumerate(_BOUNDS, start=1)
        if not build.flows(place)
    }
    flowing = [name for place, name in enumerate(_BOUNDS, start=1) if build.flows(place)]
    if any(given.get(name, ()) is None for name in ("starts", "ends")):
        raise build.refused("it has no bounds")

    def run(x: Value, *worked_out: np.ndarray) -> Value:
        bounds = given | {
            name: value.reshape(-1).tolist()
            for name, value in zip(flowing, worked_out, strict=True)
        }
        starts, ends = bounds["starts"] or [], bounds["ends"] or []
        axes = bounds["axes"] or list(range(len(starts)))
        steps = bounds["steps"] or [1] * len(starts)
        places = [slice(None)] * len(x.shape)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if step < 0 and isinstance(x, Tensor):
                raise build.refused("a negative step")
            places[axis] = slice(start, end, step)
        return x[tuple(places)]

    return Layer(run)


def split(build: Build) -> Layer:
    """Gives a tuple, one value for each output."""
    axis, sizes = build.attribute("axis", 0), build.fixed(1, "split")
    parts = len(build.node.outputs)
    if build.attribute("num_outputs", parts) != parts:
        raise build.refused(f"{parts} outputs")

    def run(x: Value) -> tuple[Value, ...]:
        # Equal parts, of which the last may be smaller.
        each = [-(-x.shape[axis] // parts)] * (parts - 1)
        lengths = sizes or [*each, x.shape[axis] - sum(each)]
        if isinstance(x, Tensor):
            return tuple(x.split(lengths, axis))
        return tuple(np.split(x, np.cumsum(lengths)[:-1], axis))

    return Layer(run)


def expand(build: Build) -> Layer:
    def run(x: Value, shape: np.ndarray) -> Value:
        sizes = np.broadcast_shapes(tuple(x.shape), tuple(map(int, shape)))
        return x.expand(sizes) if isinstance(x, Tensor) else np.broadcast_to(x, sizes)

    return with_last_constant(build, 1, run)


def constant_of_shape(build: Build) -> Layer:
    given = build.attribute("value")
    value = np.zeros(1, np.float32) if given is None else np.asarray(given)

    def run(shape: np.ndarray) -> Value:
        return np.full(tuple(map(int, shape)), value.reshape(-1)[0])

    return with_last_constant(build, 0, run)


def number_range(build: Build) -> Layer:
    def run(start: Value, limit: Value, step: Value) -> Value:
        if any(isinstance(value, Tensor) for value in (start, limit, step)):
            raise build.refused("bounds that are no whole numbers")
        return np.arange(start.item(), limit.item(), step.item(), dtype=np.int64)

    return Layer(run)


def cast(build: Build) -> Layer:
    kind = {1: "float", 6: "int", 7: "int", 10: "float", 11: "float"}.get(build.attribute("to"))
    if kind is None:
        raise build.refused(f"element type {build.attribute('to')}")

    def run(x: Value, like: Tensor) -> Value:
        if not isinstance(x, Tensor):
            # A single number of a shape may have lost its array.
            return np.asarray(x).astype(np.float32 if kind == "float" else np.int64)
        # Floating values follow the precision the network runs in, not the one it was saved in.
        return x.to(like.dtype if kind == "float" else torch.int64)

    return Layer(run, like=np.zeros(1, np.float32))
