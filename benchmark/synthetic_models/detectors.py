"""SCRFD face detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .builder import BRANCH_SPREAD, GraphBuilder
from .graph_writer import Signal
from .samples import photo_like

_SIDE_PX = 320
_SAMPLES = 3
#: Mean of what meets a ReLU with no way past it: were half of it lost each time, a small difference
#: would grow from layer to layer, and half precision would not do.
_ABOVE_ZERO = 1.0

#: What the last layers say, in strides. Anchors of two sizes stand at each place: half the side of
#: a box around each, and where the landmarks are in a box with sides from -1 to 1.
_HALF_SIDES = np.array((1.5, 3.0))
_LANDMARKS = np.array(((-0.4, -0.35), (0.4, -0.35), (0, 0.05), (-0.3, 0.45), (0.3, 0.45)))
#: How much boxes and landmarks vary, as a share of half the side.
_BOX_SPREAD, _LANDMARK_SPREAD = 0.04, 0.01
#: Mean and deviation of the scores before the sigmoid: few of the many thousand are above 0.
_SCORE_CENTRE, _SCORE_SPREAD = -3.0, 0.7


@dataclass(frozen=True)
class ScrfdLayers:
    """Layers of one SCRFD.

    Attributes:
        name: Of the network.
        stage_blocks: Blocks of each of the four stages of the backbone.
        channels: Of each stage. Six for a MobileNet, which has two layers before.
        neck: Channels of the feature pyramid.
        head_layers: Layers that scores, boxes and landmarks share.
        head: Their channels.
        outputs: Names of scores, boxes and landmarks in the released graph, three strides each.
        stem: Channels of the residual backbone's first layers; None for a MobileNet backbone and
            depthwise head.

    Source:
        deepinsight/insightface, `detection/scrfd/configs/scrfd`.
    """

    name: str
    stage_blocks: tuple[int, ...]
    channels: tuple[int, ...]
    neck: int
    head_layers: int
    head: int
    outputs: tuple[str, ...]
    stem: int | None = None


SCRFD_10G = ScrfdLayers(
    name="scrfd_10g_bnkps",
    stem=56,
    stage_blocks=(3, 4, 2, 3),
    channels=(56, 88, 88, 224),
    neck=56,
    head_layers=3,
    head=80,
    outputs=("448", "471", "494", "451", "474", "497", "454", "477", "500"),
)
SCRFD_500M = ScrfdLayers(
    name="scrfd_500m_bnkps",
    stage_blocks=(2, 3, 2, 6),
    channels=(16, 16, 40, 72, 152, 288),
    neck=16,
    head_layers=2,
    head=64,
    outputs=("443", "468", "493", "446", "471", "496", "449", "474", "499"),
)


def scrfd(layers: ScrfdLayers) -> Any:
    """An SCRFD as exported from torch: normalisations folded, 2-D outputs, any height and width.

    Args:
        layers: Which.

    Returns:
        `onnx.ModelProto`
    """
    samples = (photo_like(_SAMPLES, _SIDE_PX) - 127.5) / 128
    net = GraphBuilder(layers.name, "input.1", (1, 3, "?", "?"), samples)
    features = _residual_backbone(net, layers) if layers.stem else _mobile_backbone(net, layers)
    levels = _feature_pyramid(net, features[1:], layers.neck)
    found = [_head(net, level, layers) for level in levels]
    by_kind = [signal for kind in zip(*found, strict=True) for signal in kind]
    return net.finish(
        [
            (signal, name, ("", signal.channels))
            for signal, name in zip(by_kind, layers.outputs, strict=True)
        ]
    )


def _residual_backbone(net: GraphBuilder, layers: ScrfdLayers) -> list[Signal]:
    """ResNetV1e: three small convolutions first, pooling where blocks halve the size."""
    stem = layers.stem or 0
    x = net.relu(net.conv(net.input, stem // 2, stride=2))
    x = net.relu(net.conv(x, stem // 2))
    x = net.relu(net.conv(x, stem))
    x = net.max_pool(x, 2)
    features = []
    for stage, blocks in enumerate(layers.stage_blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = _residual_block(net, x, layers.channels[stage], stride)
        features.append(x)
    return features


def _residual_block(net: GraphBuilder, x: Signal, channels: int, stride: int) -> Signal:
    branch = net.relu(net.conv(x, channels, stride=stride))
    branch = net.conv(branch, channels, spread=BRANCH_SPREAD)
    if stride > 1:
        x = net.add(
            "AveragePool",
            [x.name],
            F.avg_pool2d(x.value, 2, ceil_mode=True, count_include_pad=False),
            ceil_mode=1,
            kernel_shape=[2, 2],
            pads=[0] * 4,
            strides=[2, 2],
        )
        x = net.conv(x, channels, kernel=1)
    return net.relu(net.sum(branch, x))


def _mobile_backbone(net: GraphBuilder, layers: ScrfdLayers) -> list[Signal]:
    first, second, *stages = layers.channels
    x = net.relu(net.conv(net.input, first, stride=2))
    x = _separable(net, x, second)
    features = []
    for channels, blocks in zip(stages, layers.stage_blocks, strict=True):
        for block in range(blocks):
            x = _separable(net, x, channels, stride=1 if block else 2)
        features.append(x)
    return features


def _separable(net: GraphBuilder, x: Signal, channels: int, stride: int = 1) -> Signal:
    x = net.conv(x, x.channels, stride=stride, groups=x.channels, centre=_ABOVE_ZERO)
    return net.relu(net.conv(net.relu(x), channels, kernel=1, centre=_ABOVE_ZERO))


def _feature_pyramid(net: GraphBuilder, features: Sequence[Signal], channels: int) -> list[Signal]:
    """PAFPN: coarse features added to fine ones, then fine ones to coarse ones."""
    levels = [net.conv(x, channels, kernel=1) for x in features]
    for fine in (1, 0):
        levels[fine] = net.sum(levels[fine], _resized(net, levels[fine + 1], levels[fine]))
    levels = [net.conv(x, channels) for x in levels]
    for coarse in (1, 2):
        levels[coarse] = net.sum(levels[coarse], net.conv(levels[coarse - 1], channels, stride=2))
    return [levels[0], net.conv(levels[1], channels), net.conv(levels[2], channels)]


def _resized(net: GraphBuilder, x: Signal, like: Signal) -> Signal:
    """Enlarges to the size of another, which is known only when the graph runs."""
    size_hw = net.sizes(like, [2, 3])
    start, end = net.constant([0]), net.constant([2])
    batch_and_channels = net.node("Slice", [net.node("Shape", [x.name]), start, end, start])
    shape = net.node("Concat", [batch_and_channels, *size_hw], axis=0)
    unused = net.weight(f"{shape}.unused", np.zeros(0, np.float32))
    return net.add(
        "Resize",
        [x.name, unused, unused, shape],
        F.interpolate(x.value, like.value.shape[2:]),
        coordinate_transformation_mode="asymmetric",
        mode="nearest",
        nearest_mode="floor",
    )


def _head(net: GraphBuilder, x: Signal, layers: ScrfdLayers) -> tuple[Signal, Signal, Signal]:
    """Scores, boxes and landmarks of one level."""
    for _ in range(layers.head_layers):
        x = net.relu(net.conv(x, layers.head)) if layers.stem else _separable(net, x, layers.head)
    sides = np.repeat(_HALF_SIDES, 4)
    points = np.multiply.outer(_HALF_SIDES, _LANDMARKS).ravel()
    points_spread = np.repeat(_HALF_SIDES * _LANDMARK_SPREAD, 10)
    scores = net.conv(x, 2, spread=_SCORE_SPREAD, centre=_SCORE_CENTRE)
    boxes = net.conv(x, 8, spread=sides * _BOX_SPREAD, centre=sides)
    if layers.stem:
        factor = net.weight(f"{boxes.name}.scale", np.array(1, np.float32))
        boxes = net.add("Mul", [boxes.name, factor], boxes.value)
    landmarks = net.conv(x, 20, spread=points_spread, centre=points)
    scores = _by_anchor(net, scores, 1)
    scores = net.add("Sigmoid", [scores.name], torch.sigmoid(scores.value))
    return scores, _by_anchor(net, boxes, 4), _by_anchor(net, landmarks, 10)


def _by_anchor(net: GraphBuilder, x: Signal, values: int) -> Signal:
    """A row for each anchor, as `x.permute(2, 3, 0, 1).reshape(-1, values)` is exported."""
    rows = net.node("Transpose", [x.name], perm=[2, 3, 0, 1])
    return net.add(
        "Reshape",
        [rows, net.constant([-1, values])],
        x.value.permute(2, 3, 0, 1).reshape(-1, values),
    )
