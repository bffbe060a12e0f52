"""Detectors that can serve in place of a pack's own: those of packs, and single files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..detectors import family_of, has_landmarks, known_detectors
from ..errors import InvalidInput, ModelError
from . import ModelFile, ModelPack, OtherDetector
from .checksums import model_states
from .classify import classify
from .file_state import ByState, state_of
from .find import find_packs, pack_roots
from .graph_header import read_graph_header
from .read import is_model_name
from .ultralytics import SUFFIX, read_ultralytics_header

#: What `detector` is where a pack keeps its own.
PACKS_OWN = "pack's own"
#: Files looked at in one folder: somebody's may hold thousands of other models.
_MOST_FILES = 500
#: How single files of InsightFace's own folders are called, before their name.
_INSIGHTFACE = "insightface"

#: Remembered, for other models that lie there are asked about as often as ComfyUI lists nodes.
_answers: ByState[bool] = ByState(1024)

#: Label of folders -> these, for single files.
DetectorFolders = Mapping[str, Sequence[Path]]


def find_detectors(
    extra_roots: Sequence[Path] = (), folders: DetectorFolders | None = None
) -> dict[str, Path]:
    """The detectors there are; of each file the header is read, once.

    Args:
        extra_roots: As for `pack_roots`.
        folders: Where single files lie, such as `{"bbox": [models/ultralytics/bbox]}`.

    Returns:
        Name of each -> its file: the pack's name, or `bbox/face_yolov8n.onnx` for a single file.
    """
    found: dict[str, Path] = {}
    for name, folder in find_packs(extra_roots).items():
        for path in _files_in(folder):
            if is_detector(path):
                found.setdefault(name, path)
                break
    loose = {_INSIGHTFACE: pack_roots(extra_roots), **(folders or {})}
    for label, places in loose.items():
        for path in (path for folder in places for path in _files_in(folder, checkpoints=True)):
            if is_detector(path):
                found.setdefault(f"{label}/{path.name}", path)
    return found


def detector_at(path: Path) -> ModelFile:
    """Describes the file of a detector.

    Raises:
        ModelError: It can't be read, or is no detector of a known family; says what was seen.
    """
    files = model_states(path)
    header = read_ultralytics_header(path) if path.suffix == SUFFIX else read_graph_header(path)
    model = classify(path, header)
    if model is None or model.task != "detection":
        raise ModelError(
            f"{path} is no face detector of a family that is known here: it has {header}, "
            f"expected {known_detectors()}"
        )
    return replace(model, header=header, files=files)


def is_detector(path: Path) -> bool:
    """Whether a file is a face detector, by its header."""
    with suppress(ModelError):
        return _answers.get_or_read(state_of(path), _is_detector)
    return False


def _is_detector(path: Path) -> bool:
    try:
        return detector_at(path).task == "detection"
    except ModelError:
        return False


def with_detector(pack: ModelPack, name: str, path: Path, *, second_look: bool = True) -> ModelPack:
    """A pack with another detector in place of its own.

    Args:
        pack: Any, with a detector of its own or without.
        name: Of the detector, as users choose it.
        path: Its file.
        second_look: Whether the pack's own detector is to find the landmarks inside the boxes of a
            detector that gives none.

    Raises:
        ModelError: The file is no detector.
        InvalidInput: The pack is of one piece with its detector.
    """
    if any(model.header is None for model in pack.models):
        raise InvalidInput(
            f"got detector {name!r} for pack {pack.name!r}, whose networks belong together; "
            f"choose detector {PACKS_OWN!r}, or a pack of ONNX files"
        )
    model = detector_at(path)
    family = family_of(model)
    asks = second_look and "detection" in pack.tasks and not family.has_landmarks(model)
    own = pack if asks and has_landmarks(pack.model("detection")) else None
    others = (each for each in pack.models if each.task != "detection")
    return replace(
        pack,
        models=(model, *others),
        det_threshold=family.threshold,
        nms_threshold=family.nms_threshold,
        detector=OtherDetector(name, own),
    )


def _files_in(folder: Path, *, checkpoints: bool = False) -> Iterator[Path]:
    with suppress(OSError):
        names = sorted(path.name for path in folder.iterdir())
        models = (
            folder / name
            for name in names
            if is_model_name(name) or (checkpoints and name.endswith(SUFFIX))
        )
        yield from islice(models, _MOST_FILES)
