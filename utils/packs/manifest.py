"""`manifest.json` of insightface 2.x packs: which file does what, and how its input is normalised.

A pack opts in with `manifest_version: 2`; then a mistake in it is an error and nothing is guessed
from the graphs. Any other `manifest.json` is left alone, as insightface leaves it.

Source: insightface 2.1, model_zoo/package_manifest.py.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..detectors import family_of_graph
from ..errors import ModelError
from . import ModelFile, Task
from .graph_header import GraphHeader
from .manifest_object import ManifestObject

MANIFEST_NAME = "manifest.json"
_VERSION = 2
_MAX_BYTES = 1 << 20
_LICENCE_NAME = "MODEL.LICENSE"
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_EMBEDDED = (0.0, 1.0)
#: Tasks a manifest can declare -> mean and standard deviation when it states none.
_TASKS: dict[Task, tuple[float, float]] = {
    "detection": (127.5, 128.0),
    "verification": _EMBEDDED,
    "recognition": (127.5, 127.5),
}

log = logging.getLogger("FastFace")


@dataclass(frozen=True)
class DeclaredModel:
    """One file of a manifest.

    Attributes:
        task: `detection`, `verification` or `recognition`.
        path: The file; it may not exist.
        mean, std: The network expects `(rgb_0_to_255 - mean) / std`.
        sha256: Hash the file must have, or None.
        input_side_px: Side of a recognition crop; None for other tasks.
        expansion: Verification crops are this much larger than the box.
    """

    task: Task
    path: Path
    mean: float
    std: float
    sha256: str | None = None
    input_side_px: int | None = None
    expansion: float = ModelFile.expansion

    def model_file(self, header: GraphHeader) -> ModelFile:
        """Joins what the manifest declares and what the graph says.

        Args:
            header: Header of the file.

        Returns:
            The file; axes that the graph leaves open have the declared size, where one is.

        Raises:
            ModelError: They contradict each other.
        """
        graph_input = header.inputs[0]
        if graph_input.dtype == "uint8" and (self.mean, self.std) != _EMBEDDED:
            raise ModelError(
                f"{self.path} takes uint8 images, but its {MANIFEST_NAME} has a mean and std for "
                'them, expected preprocessing "embedded"; ask the maker of the pack to correct it'
            )
        shape = graph_input.shape
        if self.input_side_px and len(shape) == 4:
            shape = shape[:2] + tuple(size or self.input_side_px for size in shape[2:])
        family = family_of_graph(header) if self.task == "detection" else None
        return ModelFile(
            path=self.path,
            task=self.task,
            input_shape=shape,
            input_dtype=graph_input.dtype,
            output_shapes=tuple(output.shape for output in header.outputs),
            mean=self.mean,
            std=self.std,
            sha256=self.sha256,
            expansion=self.expansion,
            bgr=family is not None and family.bgr,
            family=family.name if family else None,
        )


@dataclass(frozen=True)
class Manifest:
    """A valid manifest, version 2.

    Attributes:
        model_id: Name of the pack as its maker writes it.
        display_name: The same for people.
        licence_path: Where the licence of the weights lies; it may not exist.
        models: The files, one a task.
    """

    model_id: str
    display_name: str
    licence_path: Path
    models: tuple[DeclaredModel, ...]


def read_manifest(folder: Path) -> Manifest | None:
    """Reads the manifest of a pack; the files it names are not opened.

    Args:
        folder: The pack's folder.

    Returns:
        The manifest, or None if the folder has none of version 2.

    Raises:
        ModelError: It is of version 2, and wrong; the message names the field.
    """
    root = folder.resolve()
    path = root / MANIFEST_NAME
    values = _document(path)
    if values is None:
        return None
    if not path.resolve().is_relative_to(root):
        raise ModelError(
            f"{path} is a link out of its folder, to {path.resolve()}; put the file itself there"
        )
    document = ManifestObject(f"{path}: ", values)
    model_id = document.text("model_id")
    valid = _MODEL_ID.fullmatch(model_id)
    document.require(valid, "model_id", model_id, "up to 128 letters, digits, dots, - and _")
    display_name = document.text("display_name", model_id)
    licence = document.file("license", root, ".license")
    document.require(licence.name == _LICENCE_NAME, "license", licence.name, _LICENCE_NAME)
    tasks = document.inner("tasks")
    models = tuple(_declared(root, task, tasks.inner(task)) for task in _TASKS if task in tasks)
    paths = [str(model.path) for model in models]
    document.require(len(set(paths)) == len(paths), "tasks", paths, "another file for each task")
    return Manifest(model_id, display_name, licence, models)


def has_manifest(folder: Path) -> bool:
    """Whether a folder is a pack by its manifest, be that valid or not."""
    return _document(folder / MANIFEST_NAME) is not None


def _document(path: Path) -> dict[str, Any] | None:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        log.debug("%s is ignored, as insightface does: %s", path, error)
        return None
    version = document.get("manifest_version") if isinstance(document, dict) else None
    if type(version) is not int or version != _VERSION:  # True is no version
        log.debug("%s is ignored, as insightface does: its version is %r", path, version)
        return None
    return document


def _declared(root: Path, task: Task, fields: ManifestObject) -> DeclaredModel:
    input_side_px, expansion = None, DeclaredModel.expansion
    if task == "verification":
        expansion = fields.number("expansion", expansion, positive=True)
    elif "preprocessing_version" in fields:
        fields.text("preprocessing_version")
    if task == "recognition":
        input_side_px = fields.square_side("input_size", [112, 112])
        fields.count("embedding_dimension", 512)
    mean, std = _preprocessing(task, fields)
    path = fields.file("file", root, ".onnx")
    return DeclaredModel(task, path, mean, std, fields.sha256("sha256"), input_side_px, expansion)


def _preprocessing(task: Task, fields: ManifestObject) -> tuple[float, float]:
    value = fields.values.get("preprocessing")
    if "preprocessing" not in fields:
        return _TASKS[task]
    if value == "embedded":
        return _EMBEDDED
    valid = isinstance(value, dict) and value.keys() == {"mean", "std"}
    fields.require(valid, "preprocessing", value, '"embedded" or {"mean": ..., "std": ...}')
    scalars = fields.inner("preprocessing")
    return scalars.number("mean"), scalars.number("std", positive=True)
