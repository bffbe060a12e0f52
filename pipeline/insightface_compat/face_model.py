"""ReActor's face models: one person as a face with all nine fields, and the file it is kept in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils import host
from ...utils.errors import InvalidInput, ModelError
from ...utils.faces import Faces
from ...utils.files import write_whole
from ...utils.names import require_file_name
from ...utils.packs import ModelPack, Task
from ...utils.packs.checksums import content_of
from ...utils.packs.provenance import released_file
from ...utils.packs.released import RELEASED_FILES, RESNET_50
from .face import Face
from .lazy_faces import face_fields

#: The tasks whose fields a face model has besides box, landmarks and score.
FACE_MODEL_TASKS: tuple[Task, ...] = (
    "landmark_3d_68",
    "landmark_2d_106",
    "recognition",
    "genderage",
)
#: The fields, in ReActor's order. A missing one breaks the loading of the file.
#: Source: ComfyUI-ReActor, `save_face_model` in `reactor_utils.py`.
FIELDS = (
    *("bbox", "kps", "det_score", "landmark_3d_68", "pose"),
    *("landmark_2d_106", "embedding", "gender", "age"),
)
_NAME = re.compile(r"\w[\w .()-]{0,99}")


def require_all_fields(pack: ModelPack) -> None:
    """Says what a pack lacks for a face model.

    Raises:
        ModelError: It can't give all nine fields.
    """
    lacking = [task for task in FACE_MODEL_TASKS if task not in pack.tasks]
    if lacking:
        raise ModelError(
            f"pack {pack.name!r} has no {', '.join(lacking)} model, and a face model of ReActor "
            "needs all nine fields of a face; choose a pack that has them in FastFace Loader: "
            "buffalo_l, which download_missing gets"
        )


def caution(pack: ModelPack) -> str:
    """What a user should know of face models made with this pack; empty when all is well."""
    model = pack.model("recognition")
    # By what it holds: files of that name hold other networks too.
    if content_of(model) == RESNET_50:
        return ""
    released = released_file(model)
    network = released.name if released else f"an unknown network ({model.path.name})"
    return (
        f"the embedding is of {network}, and ReActor's swap models know those of buffalo_l "
        f"({RELEASED_FILES[RESNET_50].name}): a swap with it will not look like the person; choose "
        "buffalo_l"
    )


def blended_face_model(faces: Faces) -> Face:
    """One person's face from one or several photos, as ReActor blends them.

    Args:
        faces: At least one, described by all `FACE_MODEL_TASKS`.

    Returns:
        The mean of the embeddings as they are, and the first face's other fields: CPU numpy,
        float32; `gender` and `age` integers.
    """
    first = faces[:1].to("cpu")
    if first.landmarks is None or faces.embeddings is None:
        raise ModelError("these faces have no landmarks or no embeddings; detect and embed them")
    values: dict[str, Any] = {
        "bbox": first.boxes[0].numpy(),
        "kps": first.landmarks[0].numpy(),
        "det_score": np.float32(first.scores[0].item()),
    }
    for task in FACE_MODEL_TASKS:
        values |= face_fields(first, task)[0]
    values["embedding"] = faces.embeddings.mean(0).cpu().numpy()
    return Face({key: values[key] for key in FIELDS})


def face_models_folder() -> Path:
    """Where ReActor looks for face models; it may not be there."""
    return host.models_folder() / "reactor" / "faces"


def save_face_model(face: Face, folder: Path, name: str) -> Path:
    """Writes a face model where ReActor looks for them; one of that name is replaced.

    Args:
        face: With all `FIELDS`.
        folder: ReActor's folder; made if need be.
        name: Of the file, without folder and suffix.

    Returns:
        The file, a safetensors file with one tensor a field.

    Raises:
        InvalidInput: The name can't be one of a file in that folder.
        FileError: It can't be written; one of that name that was there still is.
    """
    from safetensors.torch import save

    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"got the name {name!r} for a face model, expected up to 100 letters, digits, spaces, "
            "and -_.() that begin with a letter or digit; it is kept in ReActor's folder"
        )
    path = folder / require_file_name(name, ".safetensors", "a face model")
    write_whole(path, save({key: torch.tensor(face[key]) for key in FIELDS}))
    return path
