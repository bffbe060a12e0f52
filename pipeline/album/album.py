"""`Album`: what is known of all files of some folders, what is asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from .album_store import AlbumStore, RecordPlace
from .found_files import FoundFile
from .reading import ReadingLimits
from .records import FileRecord

THUMBNAIL_PX = 96


@dataclass(frozen=True)
class AlbumOptions:
    """What is looked at, and how.

    Attributes:
        film_seconds: Films are looked at every so many seconds; 0 leaves them out.
        limits: How pictures are read.
        resume: Whether what earlier runs kept is used.
    """

    film_seconds: float = 1.0
    limits: ReadingLimits = field(default_factory=ReadingLimits)
    resume: bool = True


@dataclass
class AlbumProgress:
    """How far an album is.

    Attributes:
        files: Of the album.
        done: Files that are done, those of earlier runs too; a film as a fraction.
        kept: Those of earlier runs.
        images: Pictures and frames of films that were analysed in this run.
        faces: In them.
        problems: Files that could not be analysed.
        seconds: Since the first file was begun.
    """

    files: int
    done: float = 0.0
    kept: int = 0
    images: int = 0
    faces: int = 0
    problems: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None before anything is known about it."""
        begun = self.done - self.kept
        return (self.files - self.done) * self.seconds / begun if begun > 0 else None


#: Called after each batch, and while a film is analysed; what it raises ends the run.
Listener = Callable[[AlbumProgress], None]


@dataclass(frozen=True, eq=False)
class Album:
    """What is known of all files of some folders.

    Attributes:
        root: The folder that paths are relative to.
        files: In the order of their paths.
        progress: Of the run that ended.
    """

    root: Path
    files: tuple[FoundFile, ...]
    progress: AlbumProgress
    _store: AlbumStore
    _places: tuple[RecordPlace, ...]

    @property
    def faces(self) -> int:
        return self._totals[0]

    @property
    def embedding_dim(self) -> int | None:
        """Length of the embeddings; None where there are none."""
        return self._totals[1]

    @cached_property
    def _totals(self) -> tuple[int, int | None]:
        faces, dim = 0, None
        for record in self.records():
            faces += len(record.faces)
            if record.faces.embeddings is not None:
                dim = record.faces.embeddings.shape[1]
        return faces, dim

    def records(self) -> Iterator[FileRecord]:
        """The record of each file, in their order; read from disk a part at a time."""
        for file, place in zip(self.files, self._places, strict=True):
            # Of a file that lies there twice only one was analysed.
            yield replace(self._store.record(place), path=file.path)
