"""Reads a folder of model files into a `ModelPack`; of the files it reads only the headers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..detectors import detector_families, known_detectors
from ..errors import ModelError
from . import TASK_ORDER, ModelFile, ModelPack, Task
from .checksums import model_states
from .classify import classify
from .graph_header import GraphHeader, read_graph_header
from .manifest import MANIFEST_NAME, Manifest, read_manifest

log = logging.getLogger("FastFace")


def read_pack(name: str, folder: Path) -> ModelPack:
    """Reads a pack: by its manifest of version 2, else by its graphs, as InsightFace does.

    A damaged file costs the pack its task, not the other tasks: it is named in a warning and in
    `ModelPack.left_out`. Of two files for one task the first by name serves.

    Args:
        name: The pack's name.
        folder: Where its files are.

    Returns:
        The pack, with one model at least.

    Raises:
        ModelError: No file is usable, or the manifest is wrong; the message says why.
    """
    manifest = read_manifest(folder)
    found: dict[Task, ModelFile] = {}
    left_out: list[str] = []
    damaged: list[str] = []
    for path, describe in _declared(manifest) if manifest else _classified(folder):
        try:
            # Before anything is read: what is read then is of these states, or a later one's.
            files = model_states(path)
            header = read_graph_header(path)
            model = describe(header)
        except ModelError as error:
            damaged.append(str(error))
            continue
        if model is None:
            left_out.append(
                f"{path.name}: no network for face analysis ({header}); detectors known here: "
                f"{known_detectors()}"
            )
        elif model.task not in TASK_ORDER:
            left_out.append(f"{path.name}: nothing here uses {model.task}")
        elif model.task in found:
            left_out.append(f"{path.name}: {found[model.task].path.name} serves {model.task}")
        else:
            found[model.task] = replace(model, header=header, files=files)
    if not found:
        none = f"its {MANIFEST_NAME} declares no file" if manifest else "it has no .onnx file"
        reasons = "".join(f"\n- {line}" for line in damaged + left_out) or f" {none}"
        raise ModelError(
            f"no model for face analysis is in {folder}:{reasons}\n"
            "Choose another pack, or put the .onnx files of one there"
        )
    for line in damaged:
        log.warning("pack %r goes on without one of its files: %s", name, line)
    for line in left_out:
        log.debug("pack %r leaves out %s", name, line)
    models = tuple(found[task] for task in TASK_ORDER if task in found)
    licence, origin = _declared_provenance(manifest, models)
    refused = tuple(damaged + left_out)
    pack = ModelPack(name, folder, models, licence, origin, left_out=refused)
    family = (
        detector_families().get(found["detection"].family or "") if "detection" in found else None
    )
    if family is None:
        return pack
    return replace(pack, det_threshold=family.threshold, nms_threshold=family.nms_threshold)


def is_model_name(name: str) -> bool:
    """Whether InsightFace would take a file for a model by its name: hidden ones it does not."""
    return name.endswith(".onnx") and not name.startswith(".")


#: Files, each with what makes a model of its header; None if it is no network for face analysis.
#: Lies in packs that hold no trained weights.
RANDOM_WEIGHTS_MARKER = "RANDOM_WEIGHTS.txt"

_Files = Iterator[tuple[Path, Callable[[GraphHeader], ModelFile | None]]]


def _declared(manifest: Manifest) -> _Files:
    for declared in manifest.models:
        yield declared.path, declared.model_file


def _classified(folder: Path) -> _Files:
    try:
        names = sorted(path.name for path in folder.iterdir() if is_model_name(path.name))
    except OSError as error:
        raise ModelError(
            f"folder {folder} can't be read: {error}; check the rights to it or choose another pack"
        ) from error
    for name in names:
        yield folder / name, partial(classify, folder / name)


def _declared_provenance(
    manifest: Manifest | None, models: tuple[ModelFile, ...]
) -> tuple[str, str]:
    """Licence and origin as the folder itself states them, a line each."""
    if manifest:
        path = manifest.licence_path
        licence = f"see {path}" if path.is_file() else ModelPack.licence
        return licence, f"{manifest.display_name} (by its manifest {manifest.model_id})"
    if (models[0].path.parent / RANDOM_WEIGHTS_MARKER).is_file():
        return "none needed", "RANDOM WEIGHTS: made on the spot for benchmarks, recognises nobody"
    return ModelPack.licence, ModelPack.origin
