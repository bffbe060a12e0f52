"""What features see of an image: windows that grow from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Graph, Node

#: A size of inputs at which layers are looked at; a multiple of all strides there are.
_ANY_SIZE = 4096

#: Operators whose results see no more than what goes into them.
POINTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "BatchNormalization", "Cast", "Clip", "Dropout", "Identity"),
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh"),
        *("HardSigmoid", "HardSwish"),
    }
)
#: Operators whose results see a window of it.
SLIDING = frozenset({"Conv", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class ReceptiveField:
    """What features see along one axis: the i-th sees pixels `stride*i + first` to `... + last`.

    Attributes:
        stride, first, last: See above.
        count: Features of an input of `_ANY_SIZE` pixels.
    """

    stride: int = 1
    first: int = 0
    last: int = 0
    count: int = _ANY_SIZE

    def slid(
        self, kernel: int, stride: int, pads: tuple[int, int], dilation: int, up: bool
    ) -> ReceptiveField:
        """What the results of a convolution or pooling over such features see.

        Args:
            kernel, stride, dilation: Of the window.
            pads: Features added before the first, and behind the last.
            up: Whether a window that is not filled any more counts too.
        """
        reach = (kernel - 1) * dilation
        spare = self.count + sum(pads) - reach - 1
        return ReceptiveField(
            self.stride * stride,
            self.first - pads[0] * self.stride,
            self.last + (reach - pads[0]) * self.stride,
            (-(-spare // stride) if up else spare // stride) + 1,
        )

    def joined(self, other: ReceptiveField) -> ReceptiveField:
        """What sums of two features in the same place see."""
        return ReceptiveField(
            self.stride, min(self.first, other.first), max(self.last, other.last), self.count
        )

    @property
    def is_even(self) -> bool:
        """Whether every input of a multiple of the stride has a feature for each stride."""
        return self.count * self.stride == _ANY_SIZE

    def filled(self, pixels: int) -> int:
        """How many features, counted from the first, see any of so many pixels."""
        return (pixels - 1 - self.first) // self.stride + 1

    def step_from(self, before: ReceptiveField) -> ReceptiveField:
        """What features see of those at an earlier point."""
        step = before.stride
        return ReceptiveField(
            self.stride // step,
            (self.first - before.first) // step,
            (self.last - before.last) // step,
        )

    @property
    def spoilt(self) -> int:
        """How many of the last features see beyond the edge of an input of whole strides."""
        return -((-1 - self.last) // self.stride) - 1

    def needed(self, features: int) -> int:
        """How many pixels have to be there for so many unspoilt features, in whole strides."""
        return -(-((features - 1) * self.stride + self.last + 1) // self.stride) * self.stride


def seen_through(
    node: Node, graph: Graph, sources: list[tuple[ReceptiveField, ReceptiveField]]
) -> tuple[ReceptiveField, ReceptiveField] | None:
    """What a node's results see along both axes; None where that is no window."""
    if node.op in POINTWISE:
        (rows, columns), *others = sources
        for other_rows, other_columns in others:
            if (other_rows.stride, other_columns.stride) != (rows.stride, columns.stride):
                return None
            rows, columns = rows.joined(other_rows), columns.joined(other_columns)
        return rows, columns
    if node.op not in SLIDING or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    kernel = node.attributes.get("kernel_shape") or _kernel_shape(node, graph)
    if kernel is None or len(kernel) != 2:
        return None
    strides = node.attributes.get("strides", (1, 1))
    pads = node.attributes.get("pads", (0, 0, 0, 0))
    dilations = node.attributes.get("dilations", (1, 1))
    up = bool(node.attributes.get("ceil_mode", 0))
    ((rows, columns),) = sources
    return (
        rows.slid(kernel[0], strides[0], (pads[0], pads[2]), dilations[0], up),
        columns.slid(kernel[1], strides[1], (pads[1], pads[3]), dilations[1], up),
    )


def _kernel_shape(node: Node, graph: Graph) -> tuple[int, ...] | None:
    weight: np.ndarray | None = graph.constants.get(node.inputs[1]) if node.op == "Conv" else None
    return None if weight is None else weight.shape[2:]
