"""Files of an album read in threads: opened one after another, decoded side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash

from ...utils.ahead import mapped_ahead
from ...utils.cores import usable_cores
from ...utils.decoding import OpenedPicture, open_picture
from ...utils.errors import BackendUnavailable, InvalidInput
from ...utils.file_kinds import SIGNATURE_BYTES, FileKind, kind_of, promises_pixels
from ...utils.files import is_text
from .found_files import FoundFile, open_file
from .records import FileRecord

#: Memory for pictures that are being decoded or wait, in bytes; one alone may take more.
_MOST_BYTES = 400_000_000
#: What a file takes beside its pixels: file objects, threads' buffers.
_LEAST_BYTES = 1 << 20
_MOST_THREADS = 16
_PART_BYTES = 1 << 20

_UNREAD = {
    FileKind.JPEG_XL: "it is JPEG XL, which is not read here; convert it to JPEG or PNG",
    FileKind.RAW: "it is a raw photo, which is not read here; develop it to JPEG or TIFF",
}
_NO_PIXELS = "its first bytes are of no picture and no film, whatever its name says"
OTHER_FILE = "neither a picture nor a film"


@dataclass(frozen=True)
class ReadingLimits:
    """How pictures are read.

    Attributes:
        most_pixels: Of a picture that is decoded; see `open_picture`. Decoding takes up to 8
            bytes for each.
        enough_side: See `open_picture`.
        follow_links: Whether links may be opened.
        threads: That decode; 0 takes as many as this process may use cores.
    """

    most_pixels: int = 100_000_000
    enough_side: int | None = None
    follow_links: bool = False
    threads: int = 0


@dataclass(frozen=True, eq=False)
class ReadFile:
    """A file of an album that was read.

    Attributes:
        record: What is known of it; its faces are not yet.
        pixels: `[H,W,3]` uint8 RGB, upright; None of films, of what could not be decoded, and of
            what is known already.
        size_hw: Of the picture as it is shown, which `pixels` may be a smaller version of.
        known: The record of another file with the same content.
    """

    record: FileRecord
    pixels: np.ndarray | None = None
    size_hw: tuple[int, int] = (0, 0)
    known: FileRecord | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """A file of which no more than the header was read; `picture` is None where that is all."""

    record: FileRecord
    file: BinaryIO | None = None
    picture: OpenedPicture | None = None

    @property
    def cost(self) -> int:
        return max(_LEAST_BYTES, self.picture.decoding_bytes if self.picture else 0)


@contextmanager
def files_read_ahead(
    root: Path,
    files: Iterable[FoundFile],
    limits: ReadingLimits,
    known: Callable[[str], FileRecord | None],
) -> Iterator[Iterator[ReadFile]]:
    """Reads files in threads, ahead of whoever takes them, in bounded memory.

    Args:
        root: That the files' paths begin at.
        files: In the order in which they are given back.
        limits: How they are read.
        known: Gives the record of a content that was analysed already; called in the threads.
    """

    def read(opened: _Opened) -> ReadFile:
        try:
            return _read(opened, known)
        finally:
            if opened.file is not None:
                opened.file.close()

    threads = limits.threads or min(_MOST_THREADS, max(1, usable_cores()))
    opening = (_open(root, file, limits) for file in files)
    with mapped_ahead(
        read, opening, lambda each: each.cost, "FastFace album", threads, _MOST_BYTES
    ) as results:
        yield results


def _open(root: Path, found: FoundFile, limits: ReadingLimits) -> _Opened:
    """Opens a file and reads its header; what is wrong with it is in the record."""

    def record(kind: FileKind = FileKind.OTHER, problem: str = "") -> FileRecord:
        return FileRecord(found.path, found.size, found.mtime_ns, kind, problem=problem)

    if found.problem:
        return _Opened(record(problem=found.problem))
    try:
        file = open_file(root / found.path, limits.follow_links)
    except InvalidInput as error:
        return _Opened(record(problem=str(error)))
    except OSError as error:
        return _Opened(record(problem=f"it can't be opened: {error.strerror or error}"))
    kind = FileKind.OTHER
    try:
        start = file.read(SIGNATURE_BYTES)
        kind = kind_of(start, found.path)
        if kind is FileKind.FILM:
            return _Opened(record(kind), file)
        if not kind.is_picture:
            other = _NO_PIXELS if promises_pixels(found.path) else OTHER_FILE
            raise InvalidInput(_UNREAD.get(kind, other))
        file.seek(0)
        picture = open_picture(file, kind, limits.most_pixels, limits.enough_side)
        return _Opened(record(kind), file, picture)
    except (InvalidInput, BackendUnavailable) as error:
        problem = str(error)
    except OSError as error:
        problem = f"it can't be read: {error.strerror or error}"
    except MemoryError:
        problem = "there is too little memory for its header"
    file.close()
    return _Opened(record(kind, problem))


def _read(opened: _Opened, known: Callable[[str], FileRecord | None]) -> ReadFile:
    """Reads the rest of a file."""
    record = opened.record
    if opened.file is None or opened.picture is None:
        return ReadFile(record)
    try:
        record = replace(record, content=_content(opened.file))
        if (same := known(record.content)) is not None:
            return ReadFile(record, known=same)
        pixels, notes = opened.picture.decode()
    except InvalidInput as error:
        return ReadFile(replace(record, problem=str(error)))
    except OSError as error:
        return ReadFile(replace(record, problem=f"it can't be read: {error.strerror or error}"))
    except MemoryError:
        return ReadFile(replace(record, problem="there is too little memory to decode it"))
    height, width = opened.picture.size_hw
    if (pixels.shape[0] > pixels.shape[1]) != (height > width):
        height, width = width, height
    return ReadFile(replace(record, notes=notes), pixels, (height, width))


def _content(file: BinaryIO) -> str:
    """A hash of all that is in a file; not cryptographic: albums are the user's own."""
    at = file.tell()  # where Pillow goes on
    file.seek(0)
    content = xxhash.xxh3_128()
    while part := file.read(_PART_BYTES):
        content.update(part)
    file.seek(at)
    return content.hexdigest()


@contextmanager
def named_in_unicode(path: Path) -> Iterator[Path]:
    """A path of the same file that libraries in C++ can be given."""
    if is_text(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fastface-") as folder:
        link = Path(folder) / "film"
        link.symlink_to(path)
        yield link
