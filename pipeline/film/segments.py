"""What was found in the frames of a film so far, kept on disk: a run goes on where one was ended.

A film is a folder of segments, some seconds of it each: checksummed files that are there whole or
not at all. They are named by the film's content, the models' and the settings, and say so again
inside; the first one that is missing, cut or something else is where the next run begins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...utils import host
from ...utils.checksummed_file import DamagedFile, Key, read_checksummed, write_checksummed
from ...utils.errors import FileError
from ...utils.faces import Faces
from ...utils.faces_file import faces_from_bytes, faces_to_bytes
from ...utils.settings import settings
from ...utils.video.scenes import LOOKED_BACK, change, is_cut
from .chunks import Chunk

_log = logging.getLogger("FastFace")

#: Part of every key; another number where the same frames would give other results.
VERSION = 2
#: Frames after which what was found is written down.
SEGMENT_FRAMES = 60
_SUFFIX = ".faces"
_OWN = ("numbers", "times", "changes", "last_small")


@dataclass(frozen=True, eq=False)
class Segment:
    """Some frames of a film that follow one another, and their faces.

    Attributes:
        faces: On the CPU, of as many images as there are frames.
        numbers: `[n]` int64 numbers of the frames in the film.
        times: `[n]` float64 seconds.
        changes: `[n]` float32, see `scenes.change`: from the frame before.
        last_small: `[36,64]` uint8, small picture of the last frame.
        is_last: Whether the film, or what was wanted of it, ends here.
    """

    faces: Faces
    numbers: np.ndarray
    times: np.ndarray
    changes: np.ndarray
    last_small: np.ndarray
    is_last: bool

    def __len__(self) -> int:
        return len(self.numbers)

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        own = {name: torch.from_numpy(getattr(self, name)) for name in _OWN}
        return faces_to_bytes(self.faces, own, {"is_last": self.is_last})

    @classmethod
    def from_bytes(cls, content: bytes) -> Segment:
        """What `to_bytes` made.

        Raises:
            DamagedFile: It is something else.
        """
        faces, tensors, facts = faces_from_bytes(content)
        try:
            own = {name: tensors[name].numpy() for name in _OWN}
            return cls(faces=faces, is_last=bool(facts["is_last"]), **own)
        except LookupError as error:
            raise DamagedFile(f"a segment of a film lacks {error}") from error


class GrowingSegment:
    """The frames since the last segment."""

    def __init__(self, known: Sequence[Segment]) -> None:
        self._faces: list[Faces] = []
        self._numbers: list[int] = []
        self._times: list[float] = []
        self._changes: list[float] = []
        before = [value for segment in known for value in segment.changes.tolist()]
        self._recent = deque(before[1:], maxlen=LOOKED_BACK)
        self._small = next((each.last_small for each in reversed(known) if len(each)), None)

    def __len__(self) -> int:
        return len(self._numbers)

    def changed(self, chunk: Chunk) -> list[bool]:
        """Whether a new scene begins at each picture of a chunk, its next frame included."""
        recent, before, result = self._recent.copy(), self._small, []
        for place, small in enumerate(chunk.small):
            value = 0.0 if before is None else change(before, small)
            if before is not None:
                recent.append(value)
            result.append(is_cut(np.array(recent, np.float32)))
            before = small
            if place < len(chunk):
                self._changes.append(value)
                self._small, self._recent = small, recent.copy()
        return result

    def add(self, chunk: Chunk, faces: Faces) -> None:
        self._faces.append(faces)
        self._numbers += chunk.numbers
        self._times += chunk.times

    def segment(self, is_last: bool) -> Segment:
        """What has grown; nothing is left here."""
        segment = Segment(
            faces=Faces.cat(self._faces),
            numbers=np.array(self._numbers, np.int64),
            times=np.array(self._times, np.float64),
            changes=np.array(self._changes, np.float32),
            last_small=np.zeros((0, 0), np.uint8) if self._small is None else self._small,
            is_last=is_last,
        )
        self._faces, self._numbers, self._times, self._changes = [], [], [], []
        return segment


class FilmStore:
    """The folder of one film's segments."""

    def __init__(self, folder: Path, key: Key) -> None:
        """
        Args:
            folder: Of all films.
            key: What decides the results, as JSON can hold it.
        """
        self._films = folder
        self._key = {**key, "version": VERSION}
        name = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = folder / name
        self._failed = False

    def read(self) -> Iterator[Segment]:
        """The segments from the film's beginning, up to the first that is not whole."""
        if not self.folder.is_dir():
            return
        with contextlib.suppress(OSError):  # so that it goes last of all
            os.utime(self.folder)
        place = 0
        while True:
            path = self._path(place)
            if not path.exists():
                return
            try:
                segment = Segment.from_bytes(read_checksummed(path, self._of(place)))
            except DamagedFile as error:
                _log.warning("what was kept of the film is used up to frame %d: %s", place, error)
                return
            yield segment
            place += len(segment)
            if segment.is_last:
                return

    def write(self, place: int, segment: Segment) -> None:
        """Keeps a segment; where that fails the log says so, once, and the run goes on.

        Args:
            place: Number of frames before it.
        """
        try:
            write_checksummed(self._path(place), self._of(place), segment.to_bytes())
        except FileError as error:
            if not self._failed:
                _log.warning("what is found in the film is not kept for a later run: %s", error)
            self._failed = True

    def limit_size(self) -> None:
        """Deletes the films that were used longest ago, but not this one, where all are too big."""
        limit = settings().film_cache_limit
        if not limit:
            return
        sizes: dict[Path, int] = {}
        used: dict[Path, float] = {}
        with contextlib.suppress(OSError):  # another process deletes too
            for film in self._films.iterdir():
                if film.is_dir():
                    sizes[film] = sum(file.stat().st_size for file in film.iterdir())
                    used[film] = film.stat().st_mtime
        total = sum(sizes.values())
        for film in sorted(used, key=used.__getitem__):
            if total <= limit:
                return
            if film != self.folder:
                shutil.rmtree(film, ignore_errors=True)
                total -= sizes[film]

    def _path(self, place: int) -> Path:
        return self.folder / f"{place:08d}{_SUFFIX}"

    def _of(self, place: int) -> Key:
        return {**self._key, "place": place}


def films_folder() -> Path:
    """Where the results of films are kept: `films` in the pack's cache folder.

    Raises:
        FileError: Not even the system's temp folder can be written to.
    """
    return host.cache_folder() / "films"
