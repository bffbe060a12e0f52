"""Ultralytics' `.pt` files: what network one holds, read as data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .file_state import ByState, state_of
from .graph_header import GraphHeader, TensorInfo
from .torch_checkpoint import Checkpoint, Holder

#: What the names of its files end in.
SUFFIX = ".pt"
#: Heads whose outputs a family of detectors knows.
_TASKS = {"Detect": "detect", "Pose": "pose"}

_headers: ByState[GraphHeader] = ByState(256)


@dataclass(frozen=True)
class UltralyticsNetwork:
    """The network of a checkpoint.

    Attributes:
        checkpoint: The file.
        layers: In the order they run; the last one is the head.
        names: Of the classes.
        values: How many numbers a place of the output has.
        points: How many keypoints a face has, and numbers each; None without any.
    """

    checkpoint: Checkpoint
    layers: tuple[Holder, ...]
    names: dict[int, str]
    values: int
    points: tuple[int, int] | None


def export_command(path: Path) -> str:
    """What turns a checkpoint into a graph, where ultralytics is installed."""
    return f'yolo export model="{path}" format=onnx opset=17 dynamic=True'


def read_ultralytics(path: Path) -> UltralyticsNetwork:
    """Reads a checkpoint of ultralytics.

    Raises:
        ModelError: It is none, or its head is neither for boxes nor for keypoints; says what to do.
    """
    checkpoint = Checkpoint(path)
    content = checkpoint.content
    model = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    inner = model.state.get("_modules", {}) if isinstance(model, Holder) else {}
    layers = submodules(inner.get("model")) if isinstance(inner, dict) else []
    head = layers[-1] if layers else None
    if model is None or head is None or head.kind not in _TASKS:
        seen = getattr(head or model, "origin", type(content).__name__)
        raise ModelError(
            f"{path} holds {seen}, expected a network of ultralytics with a head of "
            f"{' or '.join(_TASKS)}; put a face detector there, or export it where ultralytics is "
            f"installed: {export_command(path)}"
        )
    classes, shape = head.state.get("nc"), head.state.get("kpt_shape")
    points = _pair(shape) if head.kind == "Pose" else None
    if type(classes) is not int or (head.kind == "Pose" and points is None):
        raise ModelError(
            f"{path} has {classes!r} classes and keypoints {shape!r}, expected whole numbers; it "
            "is damaged: download it again"
        )
    names = model.state.get("names")
    values = 4 + classes + (points[0] * points[1] if points else 0)
    return UltralyticsNetwork(
        checkpoint, tuple(layers), names if isinstance(names, dict) else {}, values, points
    )


def read_ultralytics_header(path: Path) -> GraphHeader:
    """The header of the graph that ultralytics would export of a checkpoint.

    It is remembered until the file's state differs; of the weights nothing is read.

    Raises:
        ModelError: As `read_ultralytics`.
    """
    return _headers.get_or_read(state_of(path), _header)


def _header(path: Path) -> GraphHeader:
    network = read_ultralytics(path)
    task = _TASKS[network.layers[-1].kind]
    noted = {"task": task, "names": repr(network.names)}
    if network.points:
        noted["kpt_shape"] = repr(list(network.points))
    image = TensorInfo("images", "float32", (None, 3, None, None))
    output = TensorInfo("output0", "float32", (None, network.values, None))
    count = len(network.layers)
    return GraphHeader((image,), (output,), (), (), count, None, metadata=tuple(noted.items()))


def submodules(module: Any) -> list[Holder]:
    """The modules in a list or sequence of modules, in order."""
    inner = module.state.get("_modules") if isinstance(module, Holder) else None
    held = inner.values() if isinstance(inner, dict) else ()
    return [each for each in held if isinstance(each, Holder)]


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and [type(each) for each in value] == [int, int]:
        return value[0], value[1]
    return None
