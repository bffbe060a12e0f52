"""`GraphBuilder`: layers with random weights that behave like trained ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .graph_writer import GraphWriter, Signal

#: A channel is made at most this many times stronger than the average one of its layer.
_MOST_GAIN = 20.0
#: Values of a channel that tell its deviation.
_ENOUGH_VALUES = 64
#: Deviation that a residual branch adds to what passes it by. The less, the less a small difference
#: grows on its way through many blocks.
BRANCH_SPREAD = 0.3

#: One number for all channels, or one for each.
PerChannel = float | Sequence[float] | np.ndarray


class GraphBuilder(GraphWriter):
    """Adds a layer with each call and does the same in torch.

    So the random weights can be scaled to what really flows: the channels of every convolution have
    mean 0 and deviation 1 over the sample images, which is what batch normalisation makes of a
    trained network's. Without it a hundred random layers answer alike whatever they are shown.
    """

    def conv(
        self,
        x: Signal,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | None = None,
        spread: PerChannel = 1.0,
        centre: PerChannel = 0.0,
        bias: bool = True,
        name: str = "",
    ) -> Signal:
        """Convolves.

        Args:
            x: `[B,C,H,W]`
            channels: Of the result.
            kernel, stride, groups: As in torch.
            padding: On every side; by default what keeps the size.
            spread, centre: Deviation and mean of the result.
            bias: Whether it has one. Without, only the deviation of all channels together is set.
            name: Of the node.
        """
        name = name or self.next_name("Conv")
        padding = kernel // 2 if padding is None else padding
        weight = self.normal(channels, x.channels // groups, kernel, kernel)
        y = F.conv2d(x.value, weight, stride=stride, padding=padding, groups=groups)
        variance, mean = _statistics(y)
        if bias:
            deviation = variance.sqrt()
            deviation = deviation.clamp_min(deviation.mean() / _MOST_GAIN)
            scale = _per_channel(spread, channels) / deviation
            shift = _per_channel(centre, channels) - mean * scale
            y.mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
        else:
            scale = _per_channel(spread, channels) / variance.mean().sqrt()
            shift = None
            y.mul_(scale.view(-1, 1, 1))
        weight.mul_(scale.view(-1, 1, 1, 1))
        return self.add(
            "Conv",
            [x.name, *self._weights(name, weight=weight, bias=shift)],
            y,
            name,
            dilations=[1, 1],
            group=groups,
            kernel_shape=[kernel, kernel],
            pads=[padding] * 4,
            strides=[stride, stride],
        )

    def norm(self, x: Signal, epsilon: float = 1e-5, name: str = "") -> Signal:
        """Normalises each channel by its mean and deviation over the sample images."""
        name = name or self.next_name("BatchNormalization")
        variance, mean = _statistics(x.value)
        gamma = torch.ones(x.channels, dtype=torch.float32)
        beta = torch.zeros_like(gamma)
        y = F.batch_norm(x.value, mean, variance, gamma, beta, False, 0.0, epsilon)
        weights = self._weights(name, gamma=gamma, beta=beta, mean=mean, variance=variance)
        return self.add("BatchNormalization", [x.name, *weights], y, name, epsilon=epsilon)

    def linear(
        self,
        x: Signal,
        channels: int,
        *,
        spread: PerChannel = 1.0,
        centre: PerChannel = 0.0,
        name: str = "",
    ) -> Signal:
        """Multiplies `[B,C]` by a matrix; `spread` and `centre` as for `conv`."""
        name = name or self.next_name("Gemm")
        weight = self.normal(channels, x.channels)
        y = x.value @ weight.T
        variance, mean = _statistics(y)
        scale = _per_channel(spread, channels) / variance.sqrt()
        shift = _per_channel(centre, channels) - mean * scale
        weight.mul_(scale.view(-1, 1))
        weights = self._weights(name, weight=weight, bias=shift)
        y = y * scale + shift
        return self.add("Gemm", [x.name, *weights], y, name, alpha=1.0, beta=1.0, transB=1)

    def relu(self, x: Signal, name: str = "") -> Signal:
        return self.add("Relu", [x.name], x.value.relu(), name)

    def prelu(self, x: Signal, name: str = "") -> Signal:
        """A slope for each channel, about a quarter."""
        name = name or self.next_name("PRelu")
        slope = self.random.uniform(0.1, 0.4, (x.channels, 1, 1)).astype(np.float32)
        y = F.prelu(x.value, torch.from_numpy(slope).view(-1))
        return self.add("PRelu", [x.name, self.weight(f"{name}.slope", slope)], y, name)

    def sum(self, x: Signal, y: Signal, name: str = "") -> Signal:
        return self.add("Add", [x.name, y.name], x.value + y.value, name)

    def max_pool(self, x: Signal, kernel: int, padding: int = 0, name: str = "") -> Signal:
        """Halves height and width."""
        return self.add(
            "MaxPool",
            [x.name],
            F.max_pool2d(x.value, kernel, 2, padding),
            name,
            ceil_mode=0,
            kernel_shape=[kernel, kernel],
            pads=[padding] * 4,
            strides=[2, 2],
        )

    def flatten(self, x: Signal) -> Signal:
        return self.add("Flatten", [x.name], x.value.flatten(1), axis=1)

    def normal(self, *shape: int) -> Tensor:
        """Normally distributed float32 numbers."""
        return torch.from_numpy(self.random.standard_normal(shape, dtype=np.float32))

    def _weights(self, layer: str, **tensors: Tensor | None) -> list[str]:
        """Adds the weights of a layer, without those that are None, and gives their names back."""
        return [
            self.weight(f"{layer}.{name}", tensor.numpy())
            for name, tensor in tensors.items()
            if tensor is not None
        ]


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel, both `[C]`."""
    variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)])
    if x.numel() // x.shape[1] < _ENOUGH_VALUES:
        # A handful of values tells little of one channel, but all channels are of one kind.
        variance = variance.mean().expand_as(mean).contiguous()
    return variance, mean


def _per_channel(value: PerChannel, channels: int) -> Tensor:
    return torch.from_numpy(np.broadcast_to(np.asarray(value, np.float32), channels).copy())
