"""`FileRecord`: what is known of one file of an album, and how many of them become a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ...utils.checksummed_file import DamagedFile
from ...utils.faces import Faces
from ...utils.faces_file import faces_from_bytes, faces_to_bytes
from ...utils.file_kinds import FileKind
from ...utils.tracks.tracks import NO_TRACK

_THUMBNAILS, _LENGTHS = "thumbnails", "thumbnail_bytes"


@dataclass(frozen=True, eq=False)
class FileRecord:
    """One file of an album.

    Attributes:
        path: As `FoundFile.path`.
        size: In bytes.
        mtime_ns: When it was last changed, in nanoseconds since 1970.
        kind: By its first bytes.
        content: Stands for all that is in it; empty where it was not read.
        faces: On the CPU, of one image, or of the analysed frames of a film; of no image where
            there is a problem. Boxes and landmarks in pixels of the picture as it is shown.
        frames: Numbers in the film of these frames; empty for pictures.
        times: When they are shown, in seconds.
        tracks: For each face, who of the film it is; `NO_TRACK` where that is not known.
        thumbnails: For each face a small JPEG of it; empty where there is none.
        notes: What people should know about how it was read.
        problem: Why it was not analysed; empty where it was.
    """

    path: str
    size: int
    mtime_ns: int
    kind: FileKind
    content: str = ""
    faces: Faces = field(default_factory=Faces.empty)
    frames: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    tracks: tuple[int, ...] = ()
    thumbnails: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def images(self) -> int:
        """How many images of it were analysed: 1, the frames of a film, or none."""
        return len(self.faces.image_sizes)

    def track_of(self, face: int) -> int:
        return self.tracks[face] if self.tracks else NO_TRACK


_PLAIN = ("path", "size", "mtime_ns", "content", "frames", "times", "tracks", "notes", "problem")


def records_to_bytes(records: Sequence[FileRecord]) -> bytes:
    """Records as the content of a file."""
    faces = Faces.cat([record.faces for record in records if record.images])
    thumbnails = [each for record in records for each in record.thumbnails]
    tensors = {
        _LENGTHS: torch.tensor([len(each) for each in thumbnails], dtype=torch.int64),
        _THUMBNAILS: torch.from_numpy(np.frombuffer(b"".join(thumbnails), np.uint8).copy()),
    }
    facts = [
        {
            **{name: getattr(record, name) for name in _PLAIN},
            "kind": record.kind.value,
            "images": record.images,
            "faces": len(record.faces),
        }
        for record in records
    ]
    return faces_to_bytes(faces, tensors, facts)


def records_from_bytes(content: bytes) -> list[FileRecord]:
    """What `records_to_bytes` was given.

    Raises:
        DamagedFile: It is something else.
    """
    faces, tensors, facts = faces_from_bytes(content)
    try:
        lengths = tensors[_LENGTHS].tolist()
        pictures = tensors[_THUMBNAILS].numpy().tobytes()
        ends = np.cumsum([0, *lengths]).tolist()
        thumbnails = [pictures[ends[n] : ends[n + 1]] for n in range(len(lengths))]
        records, image, row = [], 0, 0
        for fact in facts:
            count = int(fact["faces"])
            own = _part(faces, slice(row, row + count), image, int(fact["images"]))
            records.append(_record(fact, own, tuple(thumbnails[row : row + count])))
            image, row = image + int(fact["images"]), row + count
        return records
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFile(f"a part of an album can't be read ({error!r})") from error


def _part(faces: Faces, rows: slice, first: int, images: int) -> Faces:
    """The faces of images that follow one another, of memory of their own."""
    if not images:
        return Faces.empty()
    part = faces[rows]
    known = tuple(image - first for image in part.images_of_faces())
    return replace(
        part.clone(),
        image_index=torch.tensor(known, dtype=torch.int64),
        image_list=known,
        image_sizes=faces.image_sizes[first : first + images],
    )


def _record(fact: dict[str, Any], faces: Faces, thumbnails: tuple[bytes, ...]) -> FileRecord:
    plain: dict[str, Any] = {
        name: tuple(fact[name]) if isinstance(fact[name], list) else fact[name] for name in _PLAIN
    }
    return FileRecord(**plain, kind=FileKind(fact["kind"]), faces=faces, thumbnails=thumbnails)
