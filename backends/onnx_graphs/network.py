"""`Network`: a graph executed natively in torch, on any device torch has."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from ...utils.errors import ModelError
from ...utils.progress import may_stop
from .foreign import foreign_graph
from .graph import Graph, Node
from .layers import Build, Value, tensor_of
from .operators import BOUND_INPUTS, FRESH_OUTPUT_OPS, OPERATORS


class Network(nn.Module):
    """Runs a graph node by node.

    Weights are buffers, so `to` moves them and changes their precision.

    Attributes:
        memory_format: Order of images and features in memory: channels last to begin with, which
            is the fastest on CPUs, and on most GPUs.
    """

    def __init__(self, graph: Graph) -> None:
        """
        Raises:
            ModelError: The graph has an operator, or a form of one, that is not in `OPERATORS`.
        """
        super().__init__()
        self.memory_format = torch.channels_last
        unknown = sorted({node.op for node in graph.nodes} - OPERATORS.keys())
        if unknown:
            example = next(node for node in graph.nodes if node.op == unknown[0])
            raise ModelError(
                f"{graph.name} has operators that torch can't run here: {', '.join(unknown)} "
                f"(first {example}); choose backend onnxruntime for this pack"
            )
        self.name = graph.name
        self.graph_inputs = graph.inputs
        self.graph_outputs = graph.outputs
        self.layers = nn.ModuleList()
        self._inputs: list[tuple[str, ...]] = []
        self._outputs: list[tuple[str, ...]] = []
        self._whole_numbers: dict[str, np.ndarray] = {}
        self._floats: dict[str, str] = {}
        spent = _spent_inputs(graph)
        for node in graph.nodes:
            self._add(node, graph, spent[node.outputs[0]])
        self._last_uses = self._find_last_uses()

    def _add(self, node: Node, graph: Graph, spent: Collection[int]) -> None:
        bound = BOUND_INPUTS.get(node.op, ())
        flowing = tuple(
            name
            for place, name in enumerate(node.inputs)
            if name and not (place in bound and name in graph.constants)
        )
        for name in flowing:
            if name in graph.constants:
                self._keep_constant(name, graph.constants[name])
        build = Build(node, graph.constants, graph.opset, spent)
        self.layers.append(OPERATORS[node.op](build))
        build.refuse_unread()
        self._inputs.append(flowing)
        self._outputs.append(node.outputs)

    def _keep_constant(self, name: str, value: np.ndarray) -> None:
        """Whole numbers stay on the host, where shapes are worked out; the rest are weights."""
        if value.dtype.kind in "iub":
            self._whole_numbers[name] = value
        elif name not in self._floats:
            self._floats[name] = f"constant_{len(self._floats)}"
            self.register_buffer(self._floats[name], tensor_of(value))

    def _find_last_uses(self) -> list[tuple[str, ...]]:
        """The values that nothing reads after each layer."""
        last = {name: place for place, names in enumerate(self._inputs) for name in names}
        kept = set(self.graph_outputs) | self._whole_numbers.keys() | self._floats.keys()
        return [
            tuple(name for name, at in last.items() if at == place and name not in kept)
            for place in range(len(self._inputs))
        ]

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Puts weights and, from the next run on, features into an order."""
        self.memory_format = memory_format
        # Weights made in inference mode could be used nowhere else.
        with torch.inference_mode(False):
            self.to(memory_format=memory_format)

    def forward(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Runs the network.

        Args:
            x: `[B,C,H,W]` in the dtype and on the device of the weights.
            more: The graph's further inputs, `[B,C,h,w]` each, likewise.

        Returns:
            The graph's outputs in its order.

        Raises:
            ModelError: The graph can't be computed for this input.
            OutOfMemory: There is too little memory for it.
            BackendUnavailable: The device failed.
        """
        with foreign_graph(self.name, "run"):
            return self._run(x, *more)

    def _run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Value] = dict(self._whole_numbers)
        values.update({name: getattr(self, buffer) for name, buffer in self._floats.items()})
        for name, given in zip(self.graph_inputs, (x, *more), strict=True):
            values[name] = given.contiguous(memory_format=self.memory_format)
        steps = zip(self.layers, self._inputs, self._outputs, self._last_uses, strict=True)
        for layer, inputs, outputs, done in steps:
            if x.device.type == "cpu":  # other devices only note here what they will compute
                may_stop()
            result = layer(*[values[name] for name in inputs])
            if isinstance(result, tuple):
                values.update(zip(outputs, result, strict=True))
            else:
                values[outputs[0]] = result
            for name in done:
                del values[name]
        results = [values[name] for name in self.graph_outputs]
        return tuple(r if isinstance(r, Tensor) else torch.from_numpy(r) for r in results)


def _spent_inputs(graph: Graph) -> dict[str, tuple[int, ...]]:
    """For each node, by its first output, the inputs it may overwrite; see `Build`."""
    uses = graph.uses()
    own = {node.outputs[0] for node in graph.nodes if node.op in FRESH_OUTPUT_OPS}
    return {
        node.outputs[0]: tuple(
            place for place, name in enumerate(node.inputs) if name in own and uses[name] == 1
        )
        for node in graph.nodes
    }
