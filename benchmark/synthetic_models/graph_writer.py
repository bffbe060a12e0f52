"""`GraphWriter`: writes an ONNX graph node by node."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...backends.onnx_graphs.graph import import_onnx
from ...utils.progress import may_stop

#: As the released graphs: any ONNX Runtime of these years reads them.
_OPSET, _IR_VERSION = 11, 6


@dataclass(frozen=True)
class Signal:
    """What flows between nodes.

    Attributes:
        name: Its name in the graph.
        value: What it is for the sample images.
    """

    name: str
    value: Tensor

    @property
    def channels(self) -> int:
        return self.value.shape[1]


class GraphWriter:
    """A graph in the making.

    Attributes:
        input: The images.
        random: Where the weights come from.
    """

    def __init__(
        self, name: str, input_name: str, input_shape: Sequence[int | str], samples: Tensor
    ) -> None:
        """
        Args:
            name: Of the network; the random numbers depend on nothing else.
            input_name, input_shape: As the released graph declares them.
            samples: `[B,C,H,W]` float32, images as the network expects them.
        """
        self.input = Signal(input_name, samples)
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self._onnx = import_onnx()
        self._model = self._onnx.ModelProto(
            ir_version=_IR_VERSION,
            producer_name="ComfyUI-FastFace",
            doc_string=f"The layers of {name} with random weights: it recognises nothing.",
            opset_import=[self._onnx.helper.make_opsetid("", _OPSET)],
        )
        self._graph = self._model.graph
        self._graph.name = f"{name}-random"
        self._graph.input.append(self._described(input_name, input_shape))

    def finish(self, outputs: Sequence[tuple[Signal, str, Sequence[int | str]]]) -> Any:
        """Declares the outputs.

        Args:
            outputs: Of each the signal, and its name and shape as the released graph declares them.

        Returns:
            `onnx.ModelProto`
        """
        producers = {node.output[0]: node for node in self._graph.node}
        for signal, name, shape in outputs:
            producers[signal.name].output[0] = name
            self._graph.output.append(self._described(name, shape))
        return self._model

    def _described(self, name: str, shape: Sequence[int | str]) -> Any:
        float32 = self._onnx.TensorProto.FLOAT
        return self._onnx.helper.make_tensor_value_info(name, float32, shape)

    def next_name(self, op: str) -> str:
        """A name that no node has yet."""
        return f"{op}_{len(self._graph.node)}"

    def node(self, op: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Adds a node and gives its output's name back.

        Args:
            op: ONNX's operator.
            inputs: Names of its inputs.
            name: Its own and its output's name; one is made up where there is none.
            attributes: As in ONNX.
        """
        name = name or self.next_name(op)
        self._graph.node.append(
            self._onnx.helper.make_node(op, inputs, [name], name=name, **attributes)
        )
        return name

    def add(
        self, op: str, inputs: Sequence[str], value: Tensor, name: str = "", **attributes: Any
    ) -> Signal:
        """Adds a node that makes `value` of the sample images; the rest as for `node`.

        The work may be left here: a pack takes seconds to minutes.
        """
        may_stop()
        return Signal(self.node(op, inputs, name, **attributes), value)

    def weight(self, name: str, value: np.ndarray) -> str:
        """Adds a fixed value and gives its name back."""
        # Written in place: a message is copied when it is added to another, and these are large.
        tensor = self._graph.initializer.add()
        tensor.name = name
        tensor.dims.extend(value.shape)
        tensor.data_type = self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor.raw_data = value.tobytes()
        return name

    def constant(self, value: int | Sequence[int]) -> str:
        """Adds a node for fixed integers and gives its output's name back."""
        tensor = self._onnx.numpy_helper.from_array(np.array(value, dtype=np.int64))
        return self.node("Constant", [], value=tensor)

    def sizes(self, x: Signal, axes: Sequence[int]) -> list[str]:
        """Adds nodes that read the sizes of some axes and gives their outputs' names back."""
        sizes = [
            self.node("Gather", [self.node("Shape", [x.name]), self.constant(axis)], axis=0)
            for axis in axes
        ]
        return [self.node("Unsqueeze", [size], axes=[0]) for size in sizes]
