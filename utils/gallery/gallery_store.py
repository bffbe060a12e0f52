"""`GalleryStore`: a gallery in its folder: readable JSON, vectors beside it, a way back.

`gallery.json` names the files of vectors and says whose each row is. Files of vectors are never
changed: what is added goes into a further one. A change is done once `gallery.json` has taken the
place of the one before, which stays as `undo.json`; a process that is killed before that leaves the
gallery as it was. Files that neither of the two names are removed by the next change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, ModelError
from ..files import file_errors, write_whole
from ..locks import locked
from ..progress import may_stop, stoppable
from .contents import Gallery, Identity, Sample, checked_name

_FORMAT = "fastface-gallery"
#: Raised when older versions could not read the files any more.
_VERSION = 1
_TENSOR = "embeddings"
_FILE, _UNDO, _LOCK = "gallery.json", "undo.json", "gallery.lock"
#: What to do where its folder can't be written to.
_ELSEWHERE = "choose another gallery"
#: More files of vectors than this are made one.
_MOST_SEGMENTS = 32
#: A reader whose files are replaced while it reads them begins again so often.
_MOST_READINGS = 20


@dataclass(frozen=True)
class VectorFile:
    """A file of vectors: its name, SHA-256 and number of rows."""

    file: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class _Stored:
    gallery: Gallery
    segments: tuple[VectorFile, ...]
    content: bytes


class GalleryStore:
    """One gallery on disk; any number of threads and processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of this gallery alone; made when something is first added."""
        self.folder = folder

    @property
    def name(self) -> str:
        return self.folder.name

    def exists(self) -> bool:
        return self._file.is_file()

    def state(self) -> tuple[int, ...]:
        """Differs whenever the gallery does; empty where there is none."""
        try:
            status = self._file.stat()
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns

    @property
    def _file(self) -> Path:
        return self.folder / _FILE

    def read(self) -> Gallery:
        """All of it, checked to the byte.

        Raises:
            InvalidInput: There is no such gallery.
            ModelError: It is damaged, something else, or of a newer version.
        """
        return self._read().gallery

    def change(self, edit: Callable[[Gallery], Gallery]) -> Gallery:
        """Reads the gallery, has it changed and writes it, while no other does.

        Args:
            edit: Gets the gallery as it is, an empty one where there is none.

        Returns:
            What is there now.

        Raises:
            ModelError: It is damaged, something else, or of a newer version; nothing is changed.
            FileError: It can't be written; it is as it was.
        """
        with self._locked():
            before = self._read() if self.exists() else None
            old = Gallery() if before is None else before.gallery
            new = edit(old)
            if new is not old:
                self._write(new, old, before)
            return new

    def undo(self) -> Gallery:
        """Takes the last change back; once more, and it is there again.

        Raises:
            InvalidInput: There is nothing to take back.
            ModelError: What was there before is damaged.
            FileError: It can't be written; it is as it was.
        """
        with self._locked():
            undo = self.folder / _UNDO
            if not undo.is_file():
                raise InvalidInput(
                    f"got nothing to undo in gallery {self.name!r}: it was not changed yet"
                )
            before = self._read()
            content = undo.read_bytes()
            back = self._parsed(undo, content)
            write_whole(self._file, content, _ELSEWHERE)
            write_whole(undo, before.content, _ELSEWHERE)
            return back.gallery

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with file_errors(self._file, _ELSEWHERE):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / _LOCK, may_stop):
                yield

    def _read(self) -> _Stored:
        reading = 0
        while True:
            reading += 1
            try:
                content = self._file.read_bytes()
            except FileNotFoundError:
                raise InvalidInput(
                    f"got gallery {self.name!r}, which is not there; add somebody to it with "
                    "FastFace Gallery Add, or choose another one"
                ) from None
            except OSError as error:
                raise ModelError(f"gallery {self.name!r} can't be read: {error}") from error
            try:
                return self._parsed(self._file, content)
            except FileNotFoundError:
                # Another process changed the gallery meanwhile, and removed what it needs no more.
                if self._file.read_bytes() == content or reading == _MOST_READINGS:
                    raise ModelError(
                        f"gallery {self.name!r} lacks a file of vectors that its {_FILE} names; "
                        "copy the whole folder, or take it from a backup"
                    ) from None

    def _parsed(self, file: Path, content: bytes) -> _Stored:
        """A gallery out of its JSON and the files that this names."""
        may_stop()
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._damaged(file, error) from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise self._damaged(file, "it is none that FastFace Gallery Add wrote")
        if document.get("version") != _VERSION:
            raise ModelError(
                f"gallery {self.name!r} has version {document.get('version')!r} of the format, "
                f"expected {_VERSION}; update ComfyUI-FastFace"
            )
        try:
            segments = tuple(
                VectorFile(str(each["file"]), str(each["sha256"]), int(each["rows"]))
                for each in document["segments"]
            )
            parts = [self._vectors(segment) for segment in segments]
            if len({part.shape[1] for part in parts}) > 1:
                raise ValueError("its files of vectors are of several lengths")
            vectors = torch.cat(parts) if parts else torch.zeros(0, 0)
            identities = tuple(
                _identity(each, len(vectors)) for each in stoppable(document["identities"])
            )
            facts = {str(key): str(value) for key, value in document["facts"].items()}
            space = None if document["space"] is None else str(document["space"])
        except FileNotFoundError:
            raise
        except ModelError:
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise self._damaged(file, repr(error)) from error
        return _Stored(Gallery(identities, vectors, space, facts), segments, content)

    def _vectors(self, segment: VectorFile) -> Tensor:
        """Vectors `[rows,D]` of a file whose content is what was written."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if Path(segment.file).name != segment.file:
            raise ValueError(f"{segment.file!r} is no name of a file in the gallery")
        may_stop()
        content = (self.folder / segment.file).read_bytes()
        may_stop()
        if hashlib.sha256(content).hexdigest() != segment.sha256:
            raise ModelError(
                f"{segment.file} of gallery {self.name!r} is damaged: its SHA-256 is not the one "
                f"in {_FILE}; take it from a backup, or undo the last change"
            )
        try:
            vectors = load(content)[_TENSOR]
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if vectors.ndim != 2 or len(vectors) != segment.rows or vectors.dtype != torch.float32:
            raise ValueError(f"{segment.file} holds {vectors.dtype} of {tuple(vectors.shape)}")
        return vectors

    def _write(self, new: Gallery, old: Gallery, before: _Stored | None) -> None:
        segments = () if before is None else before.segments
        rows = len(old.vectors)
        goes_on = new.vectors is old.vectors or (
            len(new.vectors) >= rows and bool(new.vectors[:rows].equal(old.vectors))
        )
        may_stop()
        if not goes_on or len(segments) >= _MOST_SEGMENTS:
            new = new.compact()
            segments, rows = (), 0
        if len(new.vectors) > rows:
            segments = (*segments, self._add_segment(new.vectors[rows:]))
        encoder = json.JSONEncoder(ensure_ascii=False, indent=1)
        content = "".join(stoppable(encoder.iterencode(_told(new, segments)))).encode()
        # From here on there is no way back.
        if before is not None:
            write_whole(self.folder / _UNDO, before.content, _ELSEWHERE)
        write_whole(self._file, content, _ELSEWHERE)
        kept = {each.file for each in segments}
        kept |= set() if before is None else {each.file for each in before.segments}
        for path in self.folder.glob("vectors-*.safetensors"):
            if path.name not in kept:
                with contextlib.suppress(OSError):  # the next change tries again
                    path.unlink()

    def _add_segment(self, vectors: Tensor) -> VectorFile:
        from safetensors.torch import save

        content = save({_TENSOR: vectors.contiguous()}, {"format": _FORMAT})
        sha256 = hashlib.sha256(content).hexdigest()
        segment = VectorFile(f"vectors-{sha256[:16]}.safetensors", sha256, len(vectors))
        write_whole(self.folder / segment.file, content, _ELSEWHERE)
        return segment

    def _damaged(self, file: Path, why: object) -> ModelError:
        return ModelError(
            f"{file.name} of gallery {self.name!r} is damaged ({why}); nothing was changed: take "
            f"it from a backup, or put {_UNDO}, the state before the last change, in its place"
        )


def _identity(document: dict[str, Any], rows: int) -> Identity:
    samples = tuple(
        Sample(int(each["row"]), str(each.get("origin", ""))) for each in document["embeddings"]
    )
    if not all(0 <= sample.row < rows for sample in samples):
        raise ValueError(f"{document['name']!r} has embeddings that no file of vectors holds")
    return Identity(checked_name(document["name"]), samples, str(document.get("notes", "")))


def _told(gallery: Gallery, segments: tuple[VectorFile, ...]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "space": gallery.space,
        "facts": dict(gallery.facts),
        "segments": [vars(segment) for segment in segments],
        "identities": [
            {
                "name": identity.name,
                "notes": identity.notes,
                "embeddings": [
                    {"row": sample.row, "origin": sample.origin} for sample in identity.samples
                ],
            }
            for identity in stoppable(gallery.identities)
        ],
    }
