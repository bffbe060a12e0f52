"""What comes of an album in its output folder: the table, the page of people, and a summary."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...utils.files import write_whole
from ...utils.gallery.gallery_store import GalleryStore
from ...utils.modules import has_module
from ...utils.pictures import USE_OUTPUT
from ...utils.text import readable
from ..insightface_compat.facade import FaceAnalysis
from .album import Album
from .album_people import AlbumPeople
from .album_table import FORMATS, require_format, write_album
from .sheet import write_sheet

#: Lowest similarity of a face to a known person, unless another is chosen.
THRESHOLD = 0.3


@dataclass(frozen=True, eq=False)
class AlbumResults:
    """What was written.

    Attributes:
        table: The file of all faces.
        page: That of the people.
        people: Who the faces are.
        left_out: Path and reason of each file that was not analysed.
    """

    table: Path
    page: Path
    people: AlbumPeople
    left_out: tuple[tuple[str, str], ...]


def chosen_format(kind: str | None) -> str:
    """The format of the table: what was asked for, or Parquet where pyarrow is installed.

    Raises:
        BackendUnavailable: Parquet needs pyarrow, which is not installed.
    """
    if kind == FORMATS[0]:
        require_format(kind)
    return kind or FORMATS[0 if has_module("pyarrow") else 1]


def write_results(
    album: Album,
    face_analysis: FaceAnalysis,
    output: Path,
    kind: str | None = None,
    gallery: GalleryStore | None = None,
    threshold: float = THRESHOLD,
) -> AlbumResults:
    """Finds out who is who, and writes `faces.parquet` or `.jsonl`, `people.html`, `album.json`.

    Args:
        album: What was found.
        face_analysis: That found it.
        output: The folder.
        kind: One of `FORMATS`; None takes Parquet where pyarrow is installed.
        gallery: Of known people.
        threshold: Lowest similarity (cosine) of a face to one of them.

    Raises:
        BackendUnavailable: Parquet needs pyarrow, which is not installed.
        FileError: A file can't be written.
        InvalidInput: The gallery is of another embedding space.
        ModelError: The gallery is damaged.
    """
    kind = chosen_format(kind)
    people = AlbumPeople(album, gallery, threshold)
    analyzer = face_analysis.analyzer
    facts = {"album": album.root.name, "pack": analyzer.pack.name}
    if analyzer.embedding_space:
        facts["embedding_space"] = analyzer.embedding_space
    facts = {name: readable(value) for name, value in facts.items()}
    table, page = output / f"faces.{kind}", output / "people.html"
    files = ((record, people.names(record)) for record in album.records())
    write_album(table, files, kind, album.embedding_dim, facts)
    write_sheet(page, album, people)
    left_out = tuple((each.path, each.problem) for each in album.records() if each.problem)
    document = {
        **facts,
        "files": len(album.files),
        "faces": album.faces,
        "people": [
            {
                "person": each.number,
                "name": each.name,
                "faces": len(each.faces),
                "files": each.files,
            }
            for each in people.people
        ],
        "left_out": [{"path": path, "reason": why} for path, why in left_out],
    }
    content = readable(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    write_whole(output / "album.json", content.encode(), USE_OUTPUT)
    return AlbumResults(table, page, people, left_out)
