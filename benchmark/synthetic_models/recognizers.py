"""Recognition networks: IResNet and MobileFaceNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .builder import BRANCH_SPREAD, GraphBuilder
from .graph_writer import Signal
from .samples import photo_like

_SIDE_PX = 112
_SAMPLES = 3
_EMBEDDING = 512


def _aligned_faces(name: str, input_name: str) -> GraphBuilder:
    samples = (photo_like(_SAMPLES, _SIDE_PX) - 127.5) / 127.5
    return GraphBuilder(name, input_name, ("None", 3, _SIDE_PX, _SIDE_PX), samples)


def iresnet(name: str, stage_blocks: Sequence[int], output: str) -> Any:
    """IResNet as exported from torch: the normalisations after convolutions are folded into them.

    Args:
        name: Of the network.
        stage_blocks: Blocks of each of the four stages.
        output: Name of the output in the released graph.

    Returns:
        `onnx.ModelProto`

    Source:
        deepinsight/insightface, `recognition/arcface_torch/backbones/iresnet.py`.
    """
    net = _aligned_faces(name, "input.1")
    x = net.prelu(net.conv(net.input, 64))
    for channels, blocks in zip((64, 128, 256, 512), stage_blocks, strict=True):
        for block in range(blocks):
            x = _iresnet_block(net, x, channels, stride=1 if block else 2)
    x = net.linear(net.flatten(net.norm(x)), _EMBEDDING)
    return net.finish([(net.norm(x), output, (1, _EMBEDDING))])


def _iresnet_block(net: GraphBuilder, x: Signal, channels: int, stride: int) -> Signal:
    branch = net.prelu(net.conv(net.norm(x), channels))
    branch = net.conv(branch, channels, stride=stride, spread=BRANCH_SPREAD)
    if stride > 1:
        x = net.conv(x, channels, kernel=1, stride=stride)
    return net.sum(branch, x)


def mobile_face_net(name: str, output: str) -> Any:
    """MobileFaceNet of double width, as exported from torch.

    Which variant `w600k_mbf` is has not been published; of the public block counts these come
    nearest to the size of its file.

    Args:
        name: Of the network.
        output: Name of the output in the released graph.

    Returns:
        `onnx.ModelProto`

    Source:
        deepinsight/insightface, `recognition/arcface_torch/backbones/mobilefacenet.py`.
    """
    net = _aligned_faces(name, "input.1")
    x = net.prelu(net.conv(net.input, 128, stride=2))
    # Of each stage: blocks, their channels and inner channels, and the inner channels of the block
    # before them, which halves the size.
    for blocks, channels, inner, halving_inner in (
        (2, 128, 128, None),
        (8, 128, 128, 128),
        (12, 256, 256, 256),
        (4, 256, 256, 512),
    ):
        if halving_inner:
            x = _bottleneck(net, x, channels, halving_inner, stride=2)
        for _ in range(blocks):
            x = net.sum(x, _bottleneck(net, x, channels, inner, spread=BRANCH_SPREAD))
    x = net.prelu(net.conv(x, 512, kernel=1))
    x = net.conv(x, 512, kernel=7, groups=512, padding=0)
    x = _product(net, _flattened_by_shape(net, x))
    return net.finish([(net.norm(x), output, (1, _EMBEDDING))])


def _bottleneck(
    net: GraphBuilder, x: Signal, channels: int, inner: int, stride: int = 1, spread: float = 1.0
) -> Signal:
    x = net.prelu(net.conv(x, inner, kernel=1))
    x = net.prelu(net.conv(x, inner, stride=stride, groups=inner))
    return net.conv(x, channels, kernel=1, spread=spread)


def _flattened_by_shape(net: GraphBuilder, x: Signal) -> Signal:
    """Flattens as `x.view(x.size(0), -1)` is exported."""
    shape = net.node("Concat", [*net.sizes(x, [0]), net.constant([-1])], axis=0)
    return net.add("Reshape", [x.name, shape], x.value.flatten(1))


def _product(net: GraphBuilder, x: Signal) -> Signal:
    """A linear layer without bias."""
    weight = net.normal(x.channels, _EMBEDDING) / x.channels**0.5
    name = net.weight("embedding.weight", weight.numpy())
    return net.add("MatMul", [x.name, name], x.value @ weight)
