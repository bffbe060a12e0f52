"""`CheckpointWriter`: writes modules of a PyTorch checkpoint as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...utils.errors import ModelError
from ...utils.packs.torch_checkpoint import Checkpoint, Holder, StoredTensor
from ...utils.packs.ultralytics import (
    UltralyticsNetwork,
    export_command,
)
from .graph import import_onnx

_OPSET, _IR_VERSION = 17, 8

#: Writes one module, which takes a value or several, and gives the name of what comes of it.
Layer = Callable[["CheckpointWriter", Holder, Any], str]


class CheckpointWriter:
    """Writes modules as nodes; values are names."""

    def __init__(self, checkpoint: Checkpoint, layers: Mapping[str, Layer]) -> None:
        """
        Args:
            checkpoint: Holds the numbers.
            layers: Name of each class of layers, and what it makes of its input, or inputs.
        """
        self._layers = layers
        self._onnx = import_onnx()
        self._checkpoint = checkpoint
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._count = 0

    def run(self, module: Holder, value: Any) -> str:
        """What a module makes of a value, or of several.

        Raises:
            ModelError: It is of a kind that is not known here.
        """
        known = self._layers.get(module.kind)
        if known is None or not module.origin.startswith(("ultralytics.nn.", "torch.nn.")):
            raise ModelError(
                f"{self._checkpoint.path} has a layer {module.origin}, which is not known here "
                f"(known: YOLOv8, YOLOv9, YOLO11); export it where ultralytics is installed, and "
                f"choose the .onnx file: {export_command(self._checkpoint.path)}"
            )
        return known(self, module, value)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node: the name of its output, or the names of several."""
        self._count += 1
        names = [f"v{self._count}_{place}" for place in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """The name of a constant."""
        array = np.asarray(value, dtype=dtype)
        name = f"c{len(self._constants)}"
        self._constants[name] = array
        return name

    def whole(self, *numbers: int) -> str:
        """A constant list of whole numbers, such as a shape."""
        return self.constant(numbers, np.int64)

    def tensor(self, module: Holder, name: str) -> np.ndarray | None:
        """A parameter, buffer or attribute of a module; None where it has none of that name."""
        for place in ("_parameters", "_buffers"):
            held = module.state.get(place, {}).get(name)
            if isinstance(held, StoredTensor):
                return self._checkpoint.array(held)
        held = module.state.get(name)
        return self._checkpoint.array(held) if isinstance(held, StoredTensor) else None

    def required(self, module: Holder, name: str) -> np.ndarray:
        """The same; raises ModelError where it is missing."""
        array = self.tensor(module, name)
        if array is None:
            raise ModelError(
                f"{self._checkpoint.path}: {module.origin} has no {name}; the file is damaged: "
                "download it again"
            )
        return array

    def part(self, module: Holder, name: str) -> Holder:
        """A module within another."""
        held = module.state.get("_modules", {}).get(name)
        if not isinstance(held, Holder):
            raise ModelError(
                f"{self._checkpoint.path}: {module.origin} has no part {name}, which it has in "
                "ultralytics 8; export it where ultralytics is installed: "
                f"{export_command(self._checkpoint.path)}"
            )
        return held

    def chain(self, module: Holder, names: Sequence[str], value: str) -> str:
        """Parts of a module, one after the other."""
        for name in names:
            value = self.run(self.part(module, name), value)
        return value

    def serialised(self, network: UltralyticsNetwork, output: str) -> bytes:
        """The whole graph."""
        helper, to_proto = self._onnx.helper, self._onnx.numpy_helper.from_array
        self._nodes.append(helper.make_node("Identity", [output], ["output0"]))
        real = self._onnx.TensorProto.FLOAT
        image = helper.make_tensor_value_info("images", real, ["batch", 3, "height", "width"])
        values = helper.make_tensor_value_info("output0", real, ["batch", network.values, "places"])
        weights = [to_proto(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "ultralytics", [image], [values], weights)
        opset = [helper.make_opsetid("", _OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        return made.SerializeToString()
