"""Tells from a graph's header what the network is for and how its input is normalised.

Detectors are recognised by their family; see `utils/detectors`.

Source: insightface 2.1, model_zoo (`ModelRouter`, `ArcFaceONNX`, `Landmark`, `Attribute`, `SCRFD`).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ..detectors import family_of_graph
from . import ModelFile, Task
from .graph_header import GraphHeader

_LANDMARK_SIDE_PX = 192
_ATTRIBUTE_SIDE_PX = 96
_FACE_SWAP_SIDE_PX = 128
_RECOGNITION_MIN_SIDE_PX = 112
_RECOGNITION_SIDE_STEP_PX = 16
#: A mesh of 1,103 points in space, of which the last 68 are the landmarks.
_LANDMARK_3D_VALUES = 3309
_GENDER_AGE_VALUES = 3
#: MXNet graphs of landmarks and attributes scale their input in one of their first nodes.
_BN_DATA_NODES = 3


def task_of(header: GraphHeader) -> str | None:
    """What a graph is for: a detector of any family, or what InsightFace takes it for.

    Args:
        header: Header of the graph.

    Returns:
        A task of `packs.TASK_ORDER`, or one that only InsightFace knows, such as `attribute_5` or
        `landmark_2d_98`; None for a network that analyses no face (a face swapper, say), for a
        detector of no known family, and where InsightFace itself stops with an error (no NCHW
        input, a head with several outputs).
    """
    shape = header.inputs[0].shape
    if len(shape) != 4:
        return None
    if family_of_graph(header):
        return "detection"
    side_px, width_px = shape[2:]
    if side_px is None or side_px != width_px or len(header.outputs) != 1:
        return None
    if side_px == _LANDMARK_SIDE_PX:
        return _landmark_task(_values_a_face(header))
    if side_px == _ATTRIBUTE_SIDE_PX:
        return _attribute_task(_values_a_face(header))
    if side_px == _FACE_SWAP_SIDE_PX and len(header.inputs) == 2:
        return None
    is_crop = side_px >= _RECOGNITION_MIN_SIDE_PX and side_px % _RECOGNITION_SIDE_STEP_PX == 0
    if is_crop and _is_vector(header.outputs[0].shape):
        return "recognition"
    return None


def classify(path: Path, header: GraphHeader) -> ModelFile | None:
    """Describes a network file the way InsightFace would use it.

    Args:
        path: The file.
        header: Its header.

    Returns:
        The file with its task and normalisation; None where `task_of` gives None.
    """
    task = task_of(header)
    if task is None:
        return None
    family = family_of_graph(header)
    if family:
        mean, std = family.mean, family.std
    else:
        mean, std = _normalisation(task, header.node_names, header.op_types)
    return ModelFile(
        path=path,
        # Of a task that only InsightFace knows, a file is among no pack's.
        task=cast(Task, task),
        input_shape=header.inputs[0].shape,
        input_dtype=header.inputs[0].dtype,
        output_shapes=tuple(output.shape for output in header.outputs),
        mean=mean,
        std=std,
        bgr=family is not None and family.bgr,
        family=family.name if family else None,
    )


def _is_vector(shape: tuple[int | None, ...]) -> bool:
    """Whether an output can be an embedding a face: for InsightFace rows of boxes can."""
    return sum(size != 1 for size in shape[1:]) <= 1


def _values_a_face(header: GraphHeader) -> int | None:
    shape = header.outputs[0].shape
    return shape[1] if len(shape) > 1 else None


def _landmark_task(values: int | None) -> str | None:
    if values is None:
        return None
    return "landmark_3d_68" if values == _LANDMARK_3D_VALUES else f"landmark_2d_{values // 2}"


def _attribute_task(values: int | None) -> str | None:
    if values is None:
        return None
    return "genderage" if values == _GENDER_AGE_VALUES else f"attribute_{values}"


def _normalisation(
    task: str, node_names: tuple[str, ...], op_types: tuple[str, ...]
) -> tuple[float, float]:
    """Mean and standard deviation; MXNet graphs subtract and scale themselves."""
    subtracts = any(name.startswith(("Sub", "_minus")) for name in node_names)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in node_names)
    if task == "recognition":
        # SFace's nodes have no names that tell: the first two scale the image.
        itself = tuple(op for op in op_types if op != "Constant")[:2] == ("Sub", "Mul")
        return (0.0, 1.0) if itself or (subtracts and multiplies) else (127.5, 127.5)
    scales = "bn_data" in node_names[:_BN_DATA_NODES]
    return (0.0, 1.0) if scales or (subtracts and multiplies) else (127.5, 128.0)
