"""Where a detector's graph can be cut in two, so that what it makes of black margins is known.

A picture of another shape than its canvas leaves a part of that black: 44 % for a video frame in a
square. Until a network first mixes distant rows, each row of its features sees only some rows
of the canvas; below the picture they are those of an empty canvas, whatever the picture. So the
front part of the network runs on the picture and a little more, the rest of its features is filled
in from an empty canvas, and the back part can't tell the difference: it is the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...utils.letterbox import Canvas
from ...utils.pixels import copy_within
from .graph import Graph, Node

#: Parts of canvases are rounded up to this, in pixels: fewer shapes to prepare for.
_PART_MULTIPLE = 16
#: A part that is nearly all of its canvas is not worth filling in the rest.
_NEARLY_ALL = 0.95

#: What cuts are compared by: a photo of 3:2 in a square canvas, in pixels.
_TYPICAL_SIDE, _TYPICAL_FILLED = 640, 427
#: Products of numbers that take as long as writing one feature and reading it again: the first
#: layers of a network have few channels, and so much to write and little to work out.
_PRODUCTS_A_FEATURE = 500

#: Operators whose results see no more than what goes into them.
_POINTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "BatchNormalization", "Cast", "Clip", "Dropout", "Identity"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh"),
        *("HardSigmoid", "HardSwish"),
    }
)
#: Operators whose results see a window of it.
_SLIDING = frozenset({"Conv", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class ReceptiveField:
    """What features see along one axis: the i-th sees pixels `stride*i + first` to `... + last`."""

    stride: int = 1
    first: int = 0
    last: int = 0

    def slid(self, kernel: int, stride: int, pad: int, dilation: int) -> ReceptiveField:
        """What the results of a convolution or pooling over such features see."""
        beyond = (kernel - 1) * dilation - pad
        return ReceptiveField(
            self.stride * stride, self.first - pad * self.stride, self.last + beyond * self.stride
        )

    def joined(self, other: ReceptiveField) -> ReceptiveField:
        """What sums of two features in the same place see."""
        return ReceptiveField(self.stride, min(self.first, other.first), max(self.last, other.last))

    def filled(self, pixels: int) -> int:
        """How many features, counted from the first, see any of so many pixels."""
        return (pixels - 1 - self.first) // self.stride + 1

    def needed(self, features: int) -> int:
        """How many pixels so many features see."""
        return (features - 1) * self.stride + self.last + 1


@dataclass(frozen=True)
class SplitPoint:
    """A place to cut a graph.

    Attributes:
        value: The one value that everything behind the cut is made of, `[B,C,h,w]`.
        rows, columns: What it sees of the image.
    """

    value: str
    rows: ReceptiveField
    columns: ReceptiveField

    def part_hw(self, canvas: Canvas) -> tuple[int, int]:
        """Height and width of the upper left part of a canvas that the front has to run on."""
        needed = [
            max(filled, window.needed(window.filled(filled)))
            for window, filled in zip((self.rows, self.columns), canvas.filled_hw, strict=True)
        ]
        height, width = (
            min(size, -(-pixels // _PART_MULTIPLE) * _PART_MULTIPLE)
            for pixels, size in zip(needed, canvas.size_hw, strict=True)
        )
        if height * width > _NEARLY_ALL * canvas.size_hw[0] * canvas.size_hw[1]:
            return canvas.size_hw
        return height, width

    def filled(self, canvas: Canvas) -> tuple[int, int]:
        """Rows and columns of features that see any of the picture."""
        return self.rows.filled(canvas.filled_hw[0]), self.columns.filled(canvas.filled_hw[1])

    def completed(self, features: Tensor, empty: Tensor, canvas: Canvas) -> Tensor:
        """The features of whole canvases.

        Args:
            features: `[B,C,h,w]` of their upper left parts of `part_hw`.
            empty: `[1,C,H,W]` of an empty canvas.
            canvas: Where the pictures lie.

        Returns:
            `[B,C,H,W]` on the same device, in the same order of memory.
        """
        rows, columns = self.filled(canvas)
        # Those of an empty canvas may be from before the front was put into another order.
        channels_last = features.is_contiguous(memory_format=torch.channels_last)
        whole = torch.empty(
            (len(features), *empty.shape[1:]),
            dtype=empty.dtype,
            device=empty.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        )
        copy_within(whole[..., :rows, :columns], features[..., :rows, :columns])
        copy_within(whole[..., :rows, columns:], empty[..., :rows, columns:])
        copy_within(whole[..., rows:, :], empty[..., rows:, :])
        return whole


def best_split_point(graph: Graph) -> SplitPoint | None:
    """The cut that spares most of a typical picture's work; None where none spares any."""
    best, most = None, 0.0
    for split_point, work, features in _split_points(graph):
        part = split_point.rows.needed(split_point.rows.filled(_TYPICAL_FILLED))
        gain = work * (1 - part / _TYPICAL_SIDE) - _PRODUCTS_A_FEATURE * features
        if gain > most:
            best, most = split_point, gain
    return best


def _split_points(graph: Graph) -> Iterator[tuple[SplitPoint, float, float]]:
    """All cuts; with the work before each, in products, and its features, both for each pixel."""
    last_use = {name: len(graph.nodes) for name in graph.outputs}
    for place, node in reversed(list(enumerate(graph.nodes))):
        for name in node.inputs:
            last_use.setdefault(name, place)
    # What an engine would join with the layer before is not behind a cut: an activation, for speed,
    # and a sum, as between residual blocks, because it may then add in another order, which costs
    # the last digits.
    joined = {name for node in graph.nodes if node.op in _POINTWISE for name in node.inputs}
    windows = {graph.input: (ReceptiveField(), ReceptiveField())}
    alive = {graph.input}
    channels, features, work = 3, 0.0, 0.0
    for place, node in enumerate(graph.nodes):
        flowing = [name for name in node.inputs if name in alive]
        if not flowing:
            continue
        seen = _seen_through(node, graph, [windows[name] for name in flowing if name in windows])
        if seen is None or any(name not in windows for name in flowing):
            return  # what follows sees more than a window
        windows[node.outputs[0]] = seen
        if node.op in _SLIDING:
            pixels_a_place = seen[0].stride * seen[1].stride
            if node.op == "Conv":
                weight = graph.constants.get(node.inputs[1])
                if weight is None:
                    return  # worked out from others, as in quantised graphs
                channels = weight.shape[0]
                work += weight.size / pixels_a_place
            features = channels / pixels_a_place
            work += _PRODUCTS_A_FEATURE * features
        alive.update(name for name in node.outputs if last_use.get(name, -1) > place)
        alive -= {name for name in alive if last_use[name] <= place}
        if len(alive) == 1 and features:
            (value,) = alive
            if value in node.outputs and value not in {*graph.outputs, *joined}:
                yield SplitPoint(value, *seen), work, features


def _seen_through(
    node: Node, graph: Graph, sources: list[tuple[ReceptiveField, ReceptiveField]]
) -> tuple[ReceptiveField, ReceptiveField] | None:
    """What a node's results see along both axes; None where that is no window."""
    if node.op in _POINTWISE:
        (rows, columns), *others = sources
        for other_rows, other_columns in others:
            if (other_rows.stride, other_columns.stride) != (rows.stride, columns.stride):
                return None
            rows, columns = rows.joined(other_rows), columns.joined(other_columns)
        return rows, columns
    if node.op not in _SLIDING or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    kernel = node.attributes.get("kernel_shape") or _kernel_shape(node, graph)
    if kernel is None or len(kernel) != 2:
        return None
    strides = node.attributes.get("strides", (1, 1))
    pads = node.attributes.get("pads", (0, 0, 0, 0))
    dilations = node.attributes.get("dilations", (1, 1))
    ((rows, columns),) = sources
    return (
        rows.slid(kernel[0], strides[0], pads[0], dilations[0]),
        columns.slid(kernel[1], strides[1], pads[1], dilations[1]),
    )


def _kernel_shape(node: Node, graph: Graph) -> tuple[int, ...] | None:
    weight: np.ndarray | None = graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
    return None if weight is None else weight.shape[2:]
