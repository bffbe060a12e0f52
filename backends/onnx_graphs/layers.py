"""`Layer`: an operation with its weights; `Build`: a node on its way to become one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...utils.devices import uploaded
from ...utils.errors import ModelError
from .graph import Node

Value = Tensor | np.ndarray
Operation = Callable[..., Any]


def tensor_of(value: np.ndarray) -> Tensor:
    """A tensor over an array's own memory; arrays that can't be written to are copied first."""
    return torch.from_numpy(value if value.flags.writeable else value.copy())


def of_one_kind(values: Sequence[Value]) -> Sequence[Value]:
    """The same values, on the device where any of them is.

    Places that a graph works out of its input's size come from the host.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) in (0, len(values)):
        return values
    like = tensors[0]
    return [
        value
        if isinstance(value, Tensor)
        else uploaded(tensor_of(np.asarray(value)).to(like.dtype), like.device)
        for value in values
    ]


class Layer(nn.Module):
    """An operation with its weights, so that they move and change precision with the network."""

    def __init__(self, operation: Operation, **weights: np.ndarray | None) -> None:
        """`operation` is called with the inputs, then the weights by name."""
        super().__init__()
        self._operation = operation
        self._names = [name for name, value in weights.items() if value is not None]
        for name, value in weights.items():
            if value is None:
                continue
            tensor = tensor_of(value)
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name, tensor)

    def forward(self, *inputs: Value) -> Any:
        # Not as attributes, which torch looks up in three places, in Python.
        return self._operation(*inputs, **{name: self._buffers[name] for name in self._names})


#: Attributes that change nothing here: hints, what the weights tell too, what only training uses.
_IDLE = frozenset({"kernel_shape", "cubic_coeff_a", "extrapolation_value", "momentum", "ratio"})

#: Values at which an attribute that is not read changes nothing.
_NEUTRAL: dict[str, Any] = {
    "antialias": 0,
    "auto_pad": ("NOTSET", "VALID"),
    "dilations": [1, 1],
    "exclude_outside": 0,
    "keep_aspect_ratio_policy": "stretch",
    "spatial": 1,
    "storage_order": 0,
    "training_mode": 0,
}


class Build:
    """A node while it is turned into a layer.

    Attributes:
        node: The node.
        opset: Version of the operators.
        spent: Places of inputs that lie in memory of their own and that nothing reads afterwards:
            the result may be written over them.
    """

    def __init__(
        self,
        node: Node,
        constants: Mapping[str, np.ndarray],
        opset: int,
        spent: Collection[int] = (),
    ) -> None:
        self.node = node
        self.opset = opset
        self.spent = spent
        self._constants = constants
        self._read: set[str] = set()

    def attribute(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return self.node.attributes.get(name, default)

    def refuse_unread(self) -> None:
        """Refuses a node with an attribute that its operator, being built, took no notice of.

        Raises:
            ModelError: There is one, and it is not one that changes nothing.
        """
        for name in self.node.attributes.keys() - self._read - _IDLE:
            value, neutral = self.node.attributes[name], _NEUTRAL.get(name)
            if value not in (neutral if isinstance(neutral, tuple) else (neutral,)):
                raise self.refused(f"attribute {name} = {value!r}")

    def constant(self, place: int) -> np.ndarray | None:
        """The fixed value of an input, None when it is left out.

        Raises:
            ModelError: It is not fixed.
        """
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        if not name:
            return None
        if name not in self._constants:
            raise self.refused(f"input {place} changes from run to run")
        return self._constants[name]

    def flows(self, place: int) -> bool:
        """Whether an input is there and not fixed."""
        name = self.node.inputs[place] if place < len(self.node.inputs) else ""
        return bool(name) and name not in self._constants

    def required(self, place: int) -> np.ndarray:
        value = self.constant(place)
        if value is None:
            raise self.refused(f"input {place} is missing")
        return value

    def fixed(self, place: int, attribute: str) -> list[int] | None:
        """Integers that older opsets give as an attribute and newer ones as an input."""
        given = self.attribute(attribute)
        if given is not None:
            return list(given)
        value = self.constant(place)
        return None if value is None else value.reshape(-1).tolist()

    def refused(self, reason: str) -> ModelError:
        return ModelError(
            f"{self.node} can't be run in torch: {reason}; choose backend onnxruntime for this pack"
        )

    def most_inputs(self, number: int) -> None:
        """Refuses a node with inputs beyond those its operator knows.

        Raises:
            ModelError: There are more.
        """
        if any(self.node.inputs[number:]):
            raise self.refused(f"input {number}")


def with_last_constant(build: Build, place: int, operation: Operation) -> Layer:
    """Binds an integer input now where it is fixed, else leaves it to the run."""
    try:
        fixed = build.required(place)
    except ModelError:
        return Layer(operation)
    return Layer(lambda *inputs: operation(*inputs, fixed))
