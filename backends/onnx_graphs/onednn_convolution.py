"""`OneDnnConvolution`: a convolution with what follows it, in one call of oneDNN, on the CPU.

`torch.nn.functional.conv2d` puts the weights into oneDNN's own order in every call, and what
follows it reads and writes all features once more. What `torch.compile` calls instead is used here.
It is not public, so that it is tried before it is relied on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fuse_convolutions import FUSED_CONV
from .graph import Node
from .layers import Build, Layer, Operation, Value, of_one_kind

_log = logging.getLogger("FastFace")

#: oneDNN's names of activations, by ONNX's.
_ACTIVATIONS = {"": "none", "Relu": "relu", "LeakyRelu": "leaky_relu", "Clip": "hardtanh"}
#: What is tried: activations, and whether something is added.
_TRIALS = (("", False), ("Relu", False), ("LeakyRelu", False), ("Clip", False), ("Relu", True))
_PARAMS: dict[str, list[float]] = {"": [], "Relu": [], "LeakyRelu": [0.1], "Clip": [0.0, 1.0]}
_EXPECTED: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda sums: sums,
    "Relu": F.relu,
    "LeakyRelu": lambda sums: F.leaky_relu(sums, 0.1),
    "Clip": lambda sums: sums.clamp(0.0, 1.0),
}
#: Of bf16 numbers of some units, which have 8 bits.
_TOLERANCE = 0.05


class _Shape(NamedTuple):
    """How a convolution goes over its input, as oneDNN takes it."""

    padding: list[int]
    stride: list[int]
    dilation: list[int]
    groups: int


class OneDnnConvolution(Layer):
    """A convolution whose weights are packed before it is run."""

    def __init__(self, operation: Operation, shape: _Shape, **weights: np.ndarray | None) -> None:
        super().__init__(operation, **weights)
        self._shape = shape

    def pack(self) -> None:
        """Puts the weights, which are on the CPU in their final dtype, into oneDNN's own order."""
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            self.weight.to_mkldnn(), *self._shape, None
        )


def onednn_convolution(build: Build) -> OneDnnConvolution:
    """A node of operator `FUSED_CONV`, on the CPU."""
    weights, bias = build.required(1), build.constant(2)
    top, left, *_ = build.attribute("pads", [0, 0, 0, 0])
    shape = _Shape(
        [top, left],
        list(build.attribute("strides", [1, 1])),
        list(build.attribute("dilations", [1, 1])),
        build.attribute("group", 1),
    )
    activation = _ACTIVATIONS[build.attribute("activation", "")]
    params = list(build.attribute("activation_params", []))
    channels, _, *kernel = weights.shape

    def sides(x: Tensor) -> Iterator[int]:
        """Height and width of the result."""
        for side, length, padding, stride, dilation in zip(
            x.shape[2:], kernel, *shape[:3], strict=True
        ):
            yield (side + 2 * padding - dilation * (length - 1) - 1) // stride + 1

    def run(
        x: Tensor, added: Value | None = None, *, weight: Tensor, bias: Tensor | None = None
    ) -> Value:
        once = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return once(x, weight, bias, *shape, activation, params, "")
        if isinstance(added, Tensor) and added.shape == (len(x), channels, *sides(x)):
            after = None if activation == "none" else activation
            return once.binary(x, added, weight, bias, *shape, "add", 1.0, after, [], "")
        # oneDNN repeats nothing along width and height.
        sums, added = of_one_kind((once(x, weight, bias, *shape, "none", [], ""), added))
        total = torch.as_tensor(sums + added)
        return F.relu(total) if activation == "relu" else total

    return OneDnnConvolution(run, shape, weight=weights, bias=bias)


def pack_weights(network: nn.Module) -> None:
    """Packs every `OneDnnConvolution` of a network."""
    for layer in network.modules():
        if isinstance(layer, OneDnnConvolution):
            layer.pack()


@lru_cache(maxsize=1)
def why_not_onednn() -> str | None:
    """Why this torch can't run `OneDnnConvolution` in bf16 on this CPU; None where it can."""
    try:
        differing = [name for name, added in _TRIALS if not _is_right(name, added)]
    # What torch raises for operators that are gone, want other arguments, or lack instructions.
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        reason = f"torch {torch.__version__} does not run oneDNN's convolutions in bf16: {error}"
    else:
        if not differing:
            return None
        reason = f"torch {torch.__version__} gives other sums by oneDNN: {', '.join(differing)}"
    _log.info("%s", reason)
    return reason


def _is_right(activation: str, adds: bool) -> bool:
    """Whether one form of it gives what torch's public operators give."""
    random = np.random.default_rng(0)
    weight = random.uniform(-0.2, 0.2, (16, 16, 3, 3)).astype(np.float32)
    bias = random.uniform(-1, 1, 16).astype(np.float32)
    x, added = (
        torch.from_numpy(random.uniform(-1, 1, (1, 16, 9, 9)).astype(np.float32))
        .bfloat16()
        .contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    node = Node(
        FUSED_CONV,
        "trial",
        ("x", "weight", "bias", *["added"] * adds),
        ("y",),
        {"pads": [1, 1, 1, 1], "activation": activation, "activation_params": _PARAMS[activation]},
    )
    layer = onednn_convolution(Build(node, {"weight": weight, "bias": bias}, 17)).bfloat16()
    layer.pack()
    got = layer(x, added) if adds else layer(x)
    kernel, offset = (torch.from_numpy(each).bfloat16().float() for each in (weight, bias))
    sums = F.conv2d(x.float(), kernel, offset, padding=1) + (added.float() if adds else 0)
    want = _EXPECTED[activation](sums)
    return got.shape == want.shape and torch.allclose(got.float(), want, atol=_TOLERANCE, rtol=0)
