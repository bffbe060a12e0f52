"""People into galleries and out of them: folders of photos, ReActor's face models, embeddings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..utils.choose import largest_of_each_image
from ..utils.embedding import Embedding
from ..utils.embedding_file import SUFFIX, save_embedding
from ..utils.errors import InvalidInput
from ..utils.files import write_whole
from ..utils.gallery.contents import Addition, Gallery
from ..utils.images import Images
from ..utils.names import why_unusable_name
from ..utils.packs import SPACE_DIGITS
from ..utils.packs.released import RELEASED_FILES, RESNET_50
from ..utils.pictures import read_picture
from ..utils.progress import advance, may_stop, stoppable

if TYPE_CHECKING:
    from .insightface_compat.facade import FaceAnalysis

#: What ReActor embeds with: the recognition network of buffalo_l.
REACTOR_SPACE = f"{RELEASED_FILES[RESNET_50].name}@{RESNET_50[:SPACE_DIGITS]}"
_PHOTOS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
#: A number behind a person's name: `anna_2`, `anna (3)`, `anna-04`, `anna 5`.
_NUMBER = re.compile(r"[ _-]*(?:\(\d+\)|\d+)$")
#: Photos that are decoded and analysed together.
_AT_ONCE = 8


@dataclass
class Imported:
    """People that were found, and what could not be used.

    Attributes:
        additions: For `with_added`.
        space: Of their embeddings; None without any.
        left_out: Files by name, each with the reason.
    """

    additions: list[Addition] = field(default_factory=list)
    space: str | None = None
    left_out: list[str] = field(default_factory=list)


def photos_by_person(folder: Path) -> list[tuple[str, Path]]:
    """Names of people and their photos, in the order of their names.

    A folder inside is a person, by its name, with all photos in it and below; a photo that lies in
    the folder itself is of whom it is called, without a number behind: `anna.jpg`, `anna_2.jpg`.

    Raises:
        InvalidInput: There is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"got the folder {folder.name!r}, which is not in ComfyUI's input folder; put it there"
        )
    photos: list[tuple[str, Path]] = []
    for path in sorted(stoppable(folder.rglob("*"))):
        if path.suffix.lower() in _PHOTOS and path.is_file():
            parts = path.relative_to(folder).parts
            name = parts[0] if len(parts) > 1 else _NUMBER.sub("", path.stem) or path.stem
            photos.append((name, path))
    if not photos:
        raise InvalidInput(
            f"got the folder {folder.name!r}, in which no photo lies; expected a folder for each "
            "person, with photos in it, or photos named by person such as anna_2.jpg"
        )
    return photos


def people_of_photos(face_analysis: FaceAnalysis, folder: Path) -> Imported:
    """The largest face of each photo, by person; see `photos_by_person`.

    Photos that can't be read, or have no face, are left out and named.

    Raises:
        InvalidInput: There is no such folder, or no photo in it.
        ModelError: The pack has no recognition.
    """
    face_analysis.analyzer.pack.model("recognition")
    photos, imported = photos_by_person(folder), Imported()
    for start in range(0, len(photos), _AT_ONCE):
        readable: list[tuple[str, str]] = []
        pictures: list[torch.Tensor] = []
        for name, path in photos[start : start + _AT_ONCE]:
            may_stop()
            where = path.relative_to(folder).as_posix()
            try:
                pictures.append(torch.from_numpy(read_picture(path))[None])
            except InvalidInput as error:
                imported.left_out.append(f"{where}: {str(error).replace(str(path), 'it')}")
                continue
            readable.append((name, where))
        if pictures:
            _add_largest(face_analysis, Images.from_comfy(pictures), readable, imported)
        advance(min(1.0, (start + _AT_ONCE) / len(photos)))
    return imported


def _add_largest(
    face_analysis: FaceAnalysis,
    images: Images,
    whose: Sequence[tuple[str, str]],
    imported: Imported,
) -> None:
    faces = face_analysis.analyze(images, remember=False)
    faces = face_analysis.describe(images, faces[largest_of_each_image(faces)], ("recognition",))
    found = faces.images_of_faces()
    if faces.embeddings is not None:
        imported.space = faces.embedding_space
        for row, image in enumerate(found):
            name, where = whose[image]
            imported.additions.append(Addition(name, faces.embeddings[row : row + 1], (where,)))
    for image in sorted(set(range(len(whose))) - set(found)):
        imported.left_out.append(f"{whose[image][1]}: no face was found in it")


def people_of_face_models(folder: Path) -> Imported:
    """The people of ReActor's face models, by the names of the files.

    Raises:
        InvalidInput: There is none.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise InvalidInput(
            "there is no face model in models/reactor/faces; ReActor's Save Face Model and "
            "FastFace Face Model keep them there"
        )
    imported = Imported(space=REACTOR_SPACE)
    for number, path in enumerate(files, start=1):
        try:
            with safe_open(str(path), framework="pt") as file:
                vector = file.get_tensor("embedding").float().reshape(1, -1)
        except (SafetensorError, OSError, RuntimeError) as error:
            imported.left_out.append(f"{path.name}: it is no face model ({error})")
            continue
        if vector.shape[1] != 512 or not bool(vector.isfinite().all()):
            imported.left_out.append(f"{path.name}: its embedding is none of buffalo_l")
            continue
        imported.additions.append(Addition(path.stem, vector, (f"ReActor {path.name}",)))
        advance(number / len(files))
    return imported


def export_embeddings(gallery: Gallery, folder: Path) -> tuple[list[str], list[str]]:
    """Keeps the mean embedding of each person as a file that FastFace Embedding Load lists.

    Returns:
        The names of the files, and what could not be kept, each with the reason.

    Raises:
        FileError: They can't be written.
    """
    kept, left_out = [], []
    for number, identity in enumerate(gallery.identities, start=1):
        file = identity.name + SUFFIX
        if reason := why_unusable_name(identity.name) or why_unusable_name(file):
            left_out.append(f"{identity.name}: {reason}")
            continue
        mean = gallery.of(identity).mean(0, keepdim=True)
        save_embedding(folder / file, Embedding(mean, gallery.space), gallery.facts)
        kept.append(file)
        advance(number / len(gallery))
    return kept, left_out


def export_face_models(gallery: Gallery, reactor_folder: Path) -> tuple[list[str], list[str]]:
    """Writes people's embeddings back into the face models of ReActor that have their names.

    A face model holds more than an embedding: landmarks, pose, age and sex of one photo. So those
    that are there get the mean embedding of all that the gallery has of the person; for others
    FastFace Face Model makes one of photos.

    Returns:
        The names of the files, and who has none, each with the reason.

    Raises:
        InvalidInput: The gallery is of another network than ReActor's.
        FileError: A file can't be written; it is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    gallery.require_space(REACTOR_SPACE)
    kept, left_out = [], []
    for number, identity in enumerate(gallery.identities, start=1):
        path = reactor_folder / f"{identity.name}.safetensors"
        try:
            fields = load(path.read_bytes())
            mean = gallery.of(identity).mean(0).reshape(fields["embedding"].shape)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
            left_out.append(
                f"{identity.name}: no face model has that name; FastFace Face Model makes one"
            )
            continue
        write_whole(path, save({**fields, "embedding": mean.to(fields["embedding"].dtype)}))
        kept.append(path.name)
        advance(number / len(gallery))
    return kept, left_out
