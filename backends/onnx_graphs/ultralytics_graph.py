"""Makes an ONNX graph of an ultralytics checkpoint, of its weights and its layers read as data.

The graph is what ultralytics would export: YOLOv8, YOLOv9 and YOLO11, for boxes or keypoints, with
any number of images of any size whose sides are multiples of 32.

Source: ultralytics 8.4, `nn/tasks.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...utils.packs import ModelFile
from ...utils.packs.checksums import model_states
from ...utils.packs.ultralytics import (
    SUFFIX,
    read_ultralytics,
)
from .cache_entries import Entry
from .checkpoint_writer import CheckpointWriter
from .graph_cache import NewFile, graph_cache
from .ultralytics_layers import LAYERS

_PART = "onnx"


def as_graph(model: ModelFile) -> ModelFile:
    """A model as engines can open it: of a checkpoint its graph, made once and kept.

    Args:
        model: Any; one of a graph is given back as it is.

    Raises:
        ModelError: The checkpoint is damaged, or has layers that are not known here.
        BackendUnavailable: The onnx package is not installed.
    """
    if model.path.suffix != SUFFIX:
        return model

    def make(new_file: NewFile) -> dict[str, Any]:
        new_file(_PART).write_bytes(graph_of_checkpoint(model.path))
        return {}

    def read(entry: Entry) -> ModelFile:
        path = entry.files[_PART]
        return replace(model, path=path, files=model_states(path), sha256=None)

    return graph_cache().obtain("ultralytics", model.path, model.path.name, make, read)


def graph_of_checkpoint(path: Path) -> bytes:
    """The ONNX graph of a checkpoint, serialised.

    Raises:
        ModelError: As `as_graph`.
    """
    network = read_ultralytics(path)
    writer = CheckpointWriter(network.checkpoint, LAYERS)
    outputs: list[str] = []
    for layer in network.layers:
        origin = layer.state.get("f", -1)
        before = outputs[-1] if outputs else "images"
        if isinstance(origin, int):
            value: Any = before if origin == -1 else outputs[origin]
        else:
            value = [before if each == -1 else outputs[each] for each in origin]
        outputs.append(writer.run(layer, value))
    return writer.serialised(network, outputs[-1])
