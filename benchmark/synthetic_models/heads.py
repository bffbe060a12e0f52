"""The other heads, which came from MXNet: landmarks in space and in the image, gender and age.

Their graphs scale the image themselves and keep every normalisation apart. How they end (a
convolution that halves the size once more, then a matrix) is public for the landmarks in the image;
for the other two it is what the sizes of their files tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...utils.pose import MEAN_FACE_68
from .builder import BRANCH_SPREAD, GraphBuilder, PerChannel
from .graph_writer import Signal
from .samples import photo_like

_SAMPLES = 3
#: MXNet's own, kept in the released graphs.
_RESNET_EPSILON, _MOBILENET_EPSILON = 2e-5, 1e-3
_MESH_POINTS, _LANDMARKS_3D, _LANDMARKS_2D = 1103, 68, 106
#: How much the landmarks vary, in halves of the crop's side.
_LANDMARK_SPREAD = 0.01
#: Female, male, age in centuries.
_PERSON, _PERSON_SPREAD = np.array((0, 0, 0.35)), np.array((0.3, 0.3, 0.05))


def landmarks_3d() -> Any:
    """ResNet-50 that gives a mesh, of which the last 68 points are the landmarks.

    Returns:
        `onnx.ModelProto`

    Source:
        He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027.
    """
    mesh = np.zeros((_MESH_POINTS, 3))
    mesh[-_LANDMARKS_3D:] = MEAN_FACE_68
    net = _whole_crop("1k3d68", 192)
    x = net.norm(net.input, _RESNET_EPSILON, "bn_data")
    x = net.conv(x, 64, kernel=7, stride=2, bias=False, name="conv0")
    x = _norm_relu(net, x, "", 0)
    x = net.max_pool(x, 3, padding=1, name="pooling0")
    stages = zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True)
    for stage, (channels, blocks) in enumerate(stages, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _bottleneck(net, x, channels, stride, f"stage{stage}_unit{block}_")
    x = _norm_relu(net, x, "", 1)
    x = net.conv(x, 256, stride=2, bias=False, name="conv1")
    x = _norm_relu(net, x, "", 2)
    return _answer(net, x, mesh.ravel(), _LANDMARK_SPREAD)


def _bottleneck(net: GraphBuilder, x: Signal, channels: int, stride: int, name: str) -> Signal:
    """Each convolution comes after a normalisation, and has none after it."""
    inner = channels // 4
    first = _norm_relu(net, x, name, 1)
    branch = net.conv(first, inner, 1, bias=False, name=f"{name}conv1")
    branch = _norm_relu(net, branch, name, 2)
    branch = net.conv(branch, inner, 3, stride, bias=False, name=f"{name}conv2")
    branch = _norm_relu(net, branch, name, 3)
    branch = net.conv(branch, channels, 1, spread=BRANCH_SPREAD, bias=False, name=f"{name}conv3")
    if x.channels != channels:
        x = net.conv(first, channels, 1, stride, bias=False, name=f"{name}sc")
    return net.sum(branch, x, f"{name}plus")


def _norm_relu(net: GraphBuilder, x: Signal, name: str, number: int) -> Signal:
    x = net.norm(x, _RESNET_EPSILON, f"{name}bn{number}")
    return net.relu(x, f"{name}relu{number}")


def landmarks_2d() -> Any:
    """MobileNet of half width that gives 106 points: `onnx.ModelProto`.

    Source:
        deepinsight/insightface, `alignment/coordinate_reg`.
    """
    angles = np.linspace(0, 2 * np.pi, _LANDMARKS_2D, endpoint=False)
    points = np.stack((np.cos(angles), np.sin(angles)), 1) / 2
    return _mobile_net("2d106det", 192, 16, 64, points.ravel(), _LANDMARK_SPREAD)


def gender_age() -> Any:
    """MobileNet of quarter width that tells gender and age: `onnx.ModelProto`."""
    return _mobile_net("genderage", 96, 8, 48, _PERSON, _PERSON_SPREAD)


def _mobile_net(
    name: str, side: int, first: int, last: int, centre: np.ndarray, spread: PerChannel
) -> Any:
    """MobileNet.

    Args:
        name: Of the network.
        side: Of the crop, in pixels.
        first, last: Channels of the first and the last convolution.
        centre, spread: Mean and deviation of what it says.

    Source:
        Howard et al., "MobileNets", arXiv:1704.04861.
    """
    net = _whole_crop(name, side)
    mean, scale = np.array([127.5], np.float32), np.array([1 / 128], np.float32)
    x = net.input
    x = net.add("Sub", [x.name, net.weight("mean", mean)], x.value - mean[0], "_minusscalar0")
    x = net.add("Mul", [x.name, net.weight("scale", scale)], x.value * scale[0], "_mulscalar0")
    x = _conv_unit(net, x, "conv_1", first, stride=2)
    channels = [first * by for by in (2, 4, 4, 8, 8, *(16,) * 6, 32, 32)]
    for number, width in enumerate(channels, start=2):
        stride = 2 if width > x.channels and number > 2 else 1
        x = _conv_unit(net, x, f"conv_{number}_dw", x.channels, stride, groups=x.channels)
        x = _conv_unit(net, x, f"conv_{number}", width, kernel=1)
    x = _conv_unit(net, x, f"conv_{len(channels) + 2}", last, stride=2)
    return _answer(net, x, centre, spread)


def _conv_unit(
    net: GraphBuilder,
    x: Signal,
    name: str,
    channels: int,
    stride: int = 1,
    kernel: int = 3,
    groups: int = 1,
) -> Signal:
    x = net.conv(x, channels, kernel, stride, groups=groups, bias=False, name=f"{name}_conv2d")
    x = net.norm(x, _MOBILENET_EPSILON, f"{name}_batchnorm")
    return net.prelu(x, f"{name}_relu")


def _whole_crop(name: str, side: int) -> GraphBuilder:
    return GraphBuilder(name, "data", ("None", 3, side, side), photo_like(_SAMPLES, side))


def _answer(net: GraphBuilder, x: Signal, centre: np.ndarray, spread: PerChannel) -> Any:
    x = net.linear(net.flatten(x), len(centre), spread=spread, centre=centre, name="answer")
    return net.finish([(x, "fc1", (1, len(centre)))])
