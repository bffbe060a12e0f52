"""Layers of ultralytics' YOLOv8, YOLOv9 and YOLO11 as ONNX nodes.

Source: ultralytics 8.4, `nn/modules/{conv,block,head}.py`, `utils/tal.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...utils.errors import ModelError
from ...utils.packs.torch_checkpoint import Holder
from ...utils.packs.ultralytics import (
    submodules,
)
from .checkpoint_writer import CheckpointWriter, Layer


def _conv2d(
    writer: CheckpointWriter, module: Holder, value: str, norm: Holder | None = None
) -> str:
    """A convolution, with the batch normalisation behind it merged into its weights."""
    weight, bias = writer.required(module, "weight"), writer.tensor(module, "bias")
    if norm is not None:
        variance = writer.required(norm, "running_var") + float(norm.state["eps"])
        scale = writer.required(norm, "weight") / np.sqrt(variance)
        shift = writer.required(norm, "bias") - writer.required(norm, "running_mean") * scale
        weight = weight * scale[:, None, None, None]
        bias = shift if bias is None else shift + bias * scale
    state = module.state
    pads = [int(side) for side in state["padding"]]
    inputs = [value, writer.constant(weight)]
    if bias is not None:
        inputs.append(writer.constant(bias))
    return writer.op(
        "Conv",
        *inputs,
        kernel_shape=list(weight.shape[2:]),
        strides=[int(step) for step in state["stride"]],
        pads=pads * 2,
        dilations=[int(step) for step in state["dilation"]],
        group=int(state["groups"]),
    )


def _conv(writer: CheckpointWriter, module: Holder, value: str) -> str:
    norm = module.state["_modules"].get("bn")
    value = _conv2d(writer, writer.part(module, "conv"), value, norm)
    return writer.run(writer.part(module, "act"), value)


def _rep_conv(writer: CheckpointWriter, module: Holder, value: str) -> str:
    parts = module.state["_modules"]
    act = writer.part(module, "act")
    if parts.get("conv") is not None:
        return writer.run(act, writer.run(parts["conv"], value))
    total = writer.op(
        "Add", writer.chain(module, ["conv1"], value), writer.chain(module, ["conv2"], value)
    )
    if parts.get("bn") is not None:
        total = writer.op("Add", total, _batch_norm(writer, parts["bn"], value))
    return writer.run(act, total)


def _batch_norm(writer: CheckpointWriter, module: Holder, value: str) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    weights = [writer.constant(writer.required(module, name)) for name in names]
    return writer.op("BatchNormalization", value, *weights, epsilon=float(module.state["eps"]))


def _silu(writer: CheckpointWriter, module: Holder, value: str) -> str:
    return writer.op("Mul", value, writer.op("Sigmoid", value))


def _same(writer: CheckpointWriter, module: Holder, value: str) -> str:
    return value


def _sequence(writer: CheckpointWriter, module: Holder, value: str) -> str:
    for each in submodules(module):
        value = writer.run(each, value)
    return value


def _bottleneck(writer: CheckpointWriter, module: Holder, value: str) -> str:
    made = writer.chain(module, ["cv1", "cv2"], value)
    return writer.op("Add", value, made) if module.state["add"] else made


def _c2f(writer: CheckpointWriter, module: Holder, value: str) -> str:
    parts = writer.op("Split", writer.chain(module, ["cv1"], value), outputs=2, axis=1)
    for each in submodules(writer.part(module, "m")):
        parts.append(writer.run(each, parts[-1]))
    return writer.chain(module, ["cv2"], writer.op("Concat", *parts, axis=1))


def _c3(writer: CheckpointWriter, module: Holder, value: str) -> str:
    long = writer.chain(module, ["cv1", "m"], value)
    both = writer.op("Concat", long, writer.chain(module, ["cv2"], value), axis=1)
    return writer.chain(module, ["cv3"], both)


def _elan(writer: CheckpointWriter, module: Holder, value: str) -> str:
    parts = writer.op("Split", writer.chain(module, ["cv1"], value), outputs=2, axis=1)
    for name in ("cv2", "cv3"):
        parts.append(writer.chain(module, [name], parts[-1]))
    return writer.chain(module, ["cv4"], writer.op("Concat", *parts, axis=1))


def _max_pool(writer: CheckpointWriter, module: Holder, value: str) -> str:
    state = module.state
    return _pool(writer, "MaxPool", value, state["kernel_size"], state["stride"], state["padding"])


def _pool(writer: CheckpointWriter, kind: str, value: str, side: int, step: int, pad: int) -> str:
    return writer.op(kind, value, kernel_shape=[side] * 2, strides=[step] * 2, pads=[pad] * 4)


def _sppf(writer: CheckpointWriter, module: Holder, value: str) -> str:
    parts = [writer.chain(module, ["cv1"], value)]
    for _ in range(int(module.state.get("n", 3))):
        parts.append(writer.chain(module, ["m"], parts[-1]))
    made = writer.chain(module, ["cv2"], writer.op("Concat", *parts, axis=1))
    return writer.op("Add", made, value) if module.state.get("add", False) else made


def _spp_elan(writer: CheckpointWriter, module: Holder, value: str) -> str:
    parts = [writer.chain(module, ["cv1"], value)]
    for name in ("cv2", "cv3", "cv4"):
        parts.append(writer.chain(module, [name], parts[-1]))
    return writer.chain(module, ["cv5"], writer.op("Concat", *parts, axis=1))


def _a_conv(writer: CheckpointWriter, module: Holder, value: str) -> str:
    return writer.chain(module, ["cv1"], _pool(writer, "AveragePool", value, 2, 1, 0))


def _a_down(writer: CheckpointWriter, module: Holder, value: str) -> str:
    half = _pool(writer, "AveragePool", value, 2, 1, 0)
    one, other = writer.op("Split", half, outputs=2, axis=1)
    one = writer.chain(module, ["cv1"], one)
    other = writer.chain(module, ["cv2"], _pool(writer, "MaxPool", other, 3, 2, 1))
    return writer.op("Concat", one, other, axis=1)


def _c2_psa(writer: CheckpointWriter, module: Holder, value: str) -> str:
    one, other = writer.op("Split", writer.chain(module, ["cv1"], value), outputs=2, axis=1)
    other = writer.chain(module, ["m"], other)
    return writer.chain(module, ["cv2"], writer.op("Concat", one, other, axis=1))


def _psa_block(writer: CheckpointWriter, module: Holder, value: str) -> str:
    for name in ("attn", "ffn"):
        made = writer.chain(module, [name], value)
        value = writer.op("Add", value, made) if module.state.get("add", True) else made
    return value


def _attention(writer: CheckpointWriter, module: Holder, value: str) -> str:
    state = module.state
    heads, key, head = (int(state[name]) for name in ("num_heads", "key_dim", "head_dim"))
    shape = writer.op("Shape", value)
    joined = writer.chain(module, ["qkv"], value)
    joined = writer.op("Reshape", joined, writer.whole(0, heads, key * 2 + head, -1))
    sizes = writer.whole(key, key, head)
    query, keys, values = writer.op("Split", joined, sizes, outputs=3, axis=2)
    query = writer.op("Mul", query, writer.constant(float(state["scale"])))
    query = writer.op("Transpose", query, perm=[0, 1, 3, 2])
    weights = writer.op("Softmax", writer.op("MatMul", query, keys), axis=-1)
    weights = writer.op("Transpose", weights, perm=[0, 1, 3, 2])
    seen = writer.op("Reshape", writer.op("MatMul", values, weights), shape)
    places = writer.chain(module, ["pe"], writer.op("Reshape", values, shape))
    return writer.chain(module, ["proj"], writer.op("Add", seen, places))


def _concat(writer: CheckpointWriter, module: Holder, values: list[str]) -> str:
    return writer.op("Concat", *values, axis=int(module.state["d"]))


def _upsample(writer: CheckpointWriter, module: Holder, value: str) -> str:
    scale, mode = float(module.state["scale_factor"]), module.state["mode"]
    if mode != "nearest":
        raise ModelError(f"a layer scales by {mode!r}, expected 'nearest'")
    return writer.op(
        "Resize",
        value,
        "",
        writer.constant([1.0, 1.0, scale, scale]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _detect(writer: CheckpointWriter, module: Holder, values: list[str]) -> str:
    """Boxes `x, y, w, h` in pixels, scores, and the keypoints of a head that has them."""
    columns: dict[str, list[str]] = {"x": [], "y": [], "stride": []}
    maps: dict[str, list[str]] = {"cv2": [], "cv3": [], "cv4": []}
    points = module.state.get("kpt_shape") if module.kind == "Pose" else None
    steps = int(module.state["reg_max"])
    sizes = {"cv2": 4 * steps, "cv3": int(module.state["nc"])}
    if points:
        sizes["cv4"] = points[0] * points[1]
    for level, stride in enumerate(writer.required(module, "stride").tolist()):
        for name, size in sizes.items():
            made = writer.run(submodules(writer.part(module, name))[level], values[level])
            maps[name].append(writer.op("Reshape", made, writer.whole(0, size, -1)))
        x, y = _grid(writer, values[level])
        columns["x"].append(x)
        columns["y"].append(y)
        nothing = writer.op("Mul", x, writer.constant(0.0))
        columns["stride"].append(writer.op("Add", nothing, writer.constant(stride)))
    x, y, stride = (writer.op("Concat", *each, axis=2) for each in columns.values())
    anchors = writer.op("Concat", x, y, axis=1)
    near, far = writer.op("Split", _distances(writer, maps["cv2"], steps), outputs=2, axis=1)
    near, far = writer.op("Sub", anchors, near), writer.op("Add", anchors, far)
    centre = writer.op("Mul", writer.op("Add", near, far), writer.constant(0.5))
    boxes = writer.op("Concat", centre, writer.op("Sub", far, near), axis=1)
    scores = writer.op("Sigmoid", writer.op("Concat", *maps["cv3"], axis=2))
    found = [writer.op("Mul", boxes, stride), scores]
    if points:
        found.append(_keypoints(writer, maps["cv4"], points, anchors, stride))
    return writer.op("Concat", *found, axis=1)


def _distances(writer: CheckpointWriter, maps: list[str], steps: int) -> str:
    """Of the shares of each whole distance from 0 to `steps - 1` their mean, `[B,4,A]` in cells."""
    shares = writer.op("Concat", *maps, axis=2)
    if steps == 1:
        return shares
    shares = writer.op("Reshape", shares, writer.whole(0, 4, steps, -1))
    shares = writer.op("Softmax", writer.op("Transpose", shares, perm=[0, 2, 1, 3]), axis=1)
    whole = writer.constant(np.arange(steps).reshape(1, steps, 1, 1))
    means = writer.op("Conv", shares, whole, kernel_shape=[1, 1])
    return writer.op("Reshape", means, writer.whole(0, 4, -1))


def _keypoints(
    writer: CheckpointWriter, maps: list[str], points: Sequence[int], anchors: str, stride: str
) -> str:
    count, numbers = points
    flat = writer.op("Concat", *maps, axis=2)
    rows = writer.op("Reshape", flat, writer.whole(0, count, numbers, -1))
    seen = None
    if numbers == 3:
        rows, seen = writer.op("Split", rows, writer.whole(2, 1), outputs=2, axis=2)
    corner = writer.op("Sub", anchors, writer.constant(0.5))
    at = writer.op("Add", writer.op("Mul", rows, writer.constant(2.0)), corner)
    at = writer.op("Mul", at, stride)
    if seen is not None:
        at = writer.op("Concat", at, writer.op("Sigmoid", seen), axis=2)
    return writer.op("Reshape", at, writer.whole(0, count * numbers, -1))


def _grid(writer: CheckpointWriter, value: str) -> tuple[str, str]:
    """The centres of all cells of a map, x and y, `[1,1,H*W]` each, in cells."""
    shape = writer.op("Shape", value)
    lines = []
    for axis, form in ((3, (1, -1)), (2, (-1, 1))):
        count = writer.op("Gather", shape, writer.constant(axis, np.int64), axis=0)
        zero, one = writer.constant(0, np.int64), writer.constant(1, np.int64)
        cells = writer.op("Range", zero, count, one)
        centres = writer.op("Cast", cells, to=1)
        centres = writer.op("Add", centres, writer.constant(0.5))
        lines.append(writer.op("Reshape", centres, writer.whole(*form)))
    nothing = [writer.op("Mul", line, writer.constant(0.0)) for line in lines]
    whole = [writer.op("Add", lines[0], nothing[1]), writer.op("Add", lines[1], nothing[0])]
    x, y = (writer.op("Reshape", each, writer.whole(1, 1, -1)) for each in whole)
    return x, y


#: Name of each class of layers -> what it makes of its input, or inputs.
LAYERS: dict[str, Layer] = {
    "ADown": _a_down,
    "AConv": _a_conv,
    "Attention": _attention,
    "Bottleneck": _bottleneck,
    "C2PSA": _c2_psa,
    "C2f": _c2f,
    "C3": _c3,
    "C3k": _c3,
    "C3k2": _c2f,
    "Concat": _concat,
    "Conv": _conv,
    "Conv2d": _conv2d,
    "DWConv": _conv,
    "Detect": _detect,
    "ELAN1": _elan,
    "Identity": _same,
    "MaxPool2d": _max_pool,
    "PSABlock": _psa_block,
    "Pose": _detect,
    "ReLU": lambda writer, module, value: writer.op("Relu", value),
    "RepBottleneck": _bottleneck,
    "RepCSP": _c3,
    "RepConv": _rep_conv,
    "RepNCSPELAN4": _elan,
    "SPPELAN": _spp_elan,
    "SPPF": _sppf,
    "Sequential": _sequence,
    "SiLU": _silu,
    "Upsample": _upsample,
}
