"""The faces of an album as a file for other programs: Parquet or JSON lines.

Parquet has a row a face, and one without a face for each picture and frame that has none and each
file that could not be analysed, which says why. JSON lines has an object a picture, frame or file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.errors import BackendUnavailable
from ...utils.files import replacing
from ...utils.modules import has_module
from ...utils.pictures import USE_OUTPUT
from ...utils.progress import may_stop
from ...utils.text import readable
from ..film.tables import BOX, POINTS, points_of
from .records import FileRecord

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("parquet", "jsonl")
POINT_COLUMNS = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
#: Rows that are written at a time.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class FaceName:
    """Who a face is.

    Attributes:
        name: Of a known person; None of nobody known.
        similarity: Cosine to the most similar embedding of that person, or of the most similar one
            of all for a face that nobody is similar enough to; None without a gallery.
        person: Number of the person among those of the album; None where that is not known.
    """

    name: str | None = None
    similarity: float | None = None
    person: int | None = None


def schema(embedding_dim: int | None, facts: dict[str, str] | None = None) -> pyarrow.Schema:
    """The columns of Parquet.

    Args:
        embedding_dim: Length of embeddings; None where there are none.
        facts: What the file says of itself.
    """
    import pyarrow as arrow

    whole, text, real = arrow.int64(), arrow.string(), arrow.float32()
    fields = [
        ("path", text),
        ("path_bytes", arrow.binary()),
        ("kind", text),
        ("bytes", whole),
        ("mtime_ns", whole),
        ("width", arrow.int32()),
        ("height", arrow.int32()),
        ("frame", whole),
        ("time", arrow.float64()),
        ("notes", text),
        ("problem", text),
        ("face", arrow.int32()),
        ("track", arrow.int32()),
        ("name", text),
        ("similarity", real),
        ("person", arrow.int32()),
        ("score", real),
        *((name, real) for name in (*BOX, *POINT_COLUMNS)),
    ]
    if embedding_dim is not None:
        fields.append(("embedding", arrow.list_(real, embedding_dim)))
    return arrow.schema(fields, metadata=facts)


def rows_of(
    record: FileRecord, names: Sequence[FaceName] | None = None, with_embeddings: bool = True
) -> Iterator[dict[str, Any]]:
    """The rows of one file, by the columns of `schema`.

    Args:
        record: Of the file.
        names: Of its faces.
        with_embeddings: Whether they have the column, as lists of floats.
    """
    path = readable(record.path)
    file = {
        "path": path,
        # What no text can hold is found again by its bytes.
        "path_bytes": None if path == record.path else _bytes(record.path),
        "kind": record.kind.value,
        "bytes": record.size,
        "mtime_ns": record.mtime_ns,
        "notes": readable("; ".join(record.notes)) or None,
        "problem": readable(record.problem) or None,
    }
    if not record.images:
        yield _row(file, with_embeddings=with_embeddings)
        return
    faces = record.faces
    images = faces.images_of_faces()
    boxes, scores, points = faces.boxes.tolist(), faces.scores.tolist(), points_of(faces)
    row = 0
    for image, (height, width) in enumerate(faces.image_sizes):
        place = {**file, "width": width, "height": height}
        if record.frames:
            place |= {"frame": record.frames[image], "time": record.times[image]}
        first = row
        while row < len(images) and images[row] == image:
            who = names[row] if names is not None else FaceName()
            face = {
                **place,
                "face": row - first,
                "track": record.track_of(row) if record.frames else None,
                **vars(who),
                "score": scores[row],
                **dict(zip(BOX, boxes[row], strict=True)),
                **dict(zip(POINT_COLUMNS, points[row], strict=True)),
            }
            if with_embeddings and faces.embeddings is not None:
                face["embedding"] = faces.embeddings[row].numpy()
            yield _row(face, with_embeddings=with_embeddings)
            row += 1
        if row == first:
            yield _row(place, with_embeddings=with_embeddings)


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


_COLUMNS = (
    *("path", "path_bytes", "kind", "bytes", "mtime_ns", "width", "height", "frame", "time"),
    *("notes", "problem", "face", "track", "name", "similarity", "person", "score"),
    *(*BOX, *POINT_COLUMNS),
)


def _row(values: dict[str, Any], with_embeddings: bool) -> dict[str, Any]:
    columns = (*_COLUMNS, "embedding") if with_embeddings else _COLUMNS
    return {name: values.get(name) for name in columns}


def arrow_table(rows: Sequence[dict[str, Any]], columns: pyarrow.Schema) -> pyarrow.Table:
    """Rows as a table of Arrow's."""
    import pyarrow as arrow

    return arrow.table(
        {
            field.name: arrow.array([row[field.name] for row in rows], field.type)
            for field in columns
        },
        schema=columns,
    )


def require_format(kind: str) -> None:
    """Makes sure that a format can be written.

    Raises:
        BackendUnavailable: Parquet needs pyarrow, which is not installed.
    """
    if kind == "parquet" and not has_module("pyarrow"):
        raise BackendUnavailable(
            "writing Parquet needs pyarrow: run `pip install pyarrow`, or choose --format jsonl"
        )


def write_album(
    path: Path,
    files: Iterable[tuple[FileRecord, Sequence[FaceName]]],
    kind: str,
    embedding_dim: int | None,
    facts: dict[str, str],
) -> None:
    """Writes the faces of an album, whole or not at all; a file of that name is replaced.

    Args:
        path: The file; its folder is made if need be.
        files: Records, and who their faces are.
        kind: One of `FORMATS`.
        embedding_dim: Length of embeddings; None where there are none.
        facts: What a Parquet file says of itself: the embedding space, say.

    Raises:
        BackendUnavailable: Parquet needs pyarrow, which is not installed.
        FileError: It can't be written.
    """
    require_format(kind)
    with replacing(path, USE_OUTPUT) as beside:
        if kind == "parquet":
            _write_parquet(beside, files, embedding_dim, facts)
        else:
            _write_jsonl(beside, files)


def _write_parquet(
    path: Path,
    files: Iterable[tuple[FileRecord, Sequence[FaceName]]],
    embedding_dim: int | None,
    facts: dict[str, str],
) -> None:
    from pyarrow import parquet

    columns = schema(embedding_dim, facts)
    with_embeddings = embedding_dim is not None
    # Through Python's own file: names that are no Unicode are none to Arrow.
    with path.open("wb") as file, parquet.ParquetWriter(file, columns) as writer:
        some: list[dict[str, Any]] = []
        for record, names in files:
            may_stop()
            some += rows_of(record, names, with_embeddings)
            if len(some) >= _ROWS_AT_ONCE:
                writer.write_table(arrow_table(some, columns))
                some = []
        writer.write_table(arrow_table(some, columns))


def _write_jsonl(path: Path, files: Iterable[tuple[FileRecord, Sequence[FaceName]]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record, names in files:
            may_stop()
            for image in _nested(rows_of(record, names)):
                file.write(json.dumps(image, ensure_ascii=False, allow_nan=False) + "\n")


_OF_IMAGE = _COLUMNS[: _COLUMNS.index("face")]
_OF_FACE = ("track", "name", "similarity", "person", "score")


def _nested(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """An object an image, with its faces in it, and without what is not known."""
    image: dict[str, Any] | None = None
    for row in rows:
        if row["face"] in (None, 0):
            if image is not None:
                yield image
            image = {name: row[name] for name in _OF_IMAGE if row[name] is not None}
            if "path_bytes" in image:
                image["path_bytes"] = image["path_bytes"].hex()
            if row["problem"] is None:
                image["faces"] = []
        if row["face"] is not None and image is not None:
            image["faces"].append(_face(row))
    if image is not None:
        yield image


def _face(row: dict[str, Any]) -> dict[str, Any]:
    face = {name: row[name] for name in _OF_FACE if row[name] is not None}
    face["box"] = [row[side] for side in BOX]
    if row[POINT_COLUMNS[0]] is not None:
        xy = [row[name] for name in POINT_COLUMNS]
        face["landmarks"] = [xy[at : at + 2] for at in range(0, len(xy), 2)]
    if row["embedding"] is not None:
        # The shortest numbers that give these very floats again.
        face["embedding"] = [float(text) for text in map(str, row["embedding"])]
    return face
