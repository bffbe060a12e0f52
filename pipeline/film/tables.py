"""The faces of a film as a file for other programs: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ...utils.errors import BackendUnavailable
from ...utils.faces import Faces
from ...utils.files import replacing
from ...utils.modules import has_module
from ...utils.progress import may_stop
from ...utils.tracks.tracks import Tracks

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
BOX = ("left", "top", "right", "bottom")
#: What a row of a face holds, in this order; Parquet adds `embedding`.
COLUMNS = (
    "frame",
    "time",
    "face",
    "track",
    "name",
    "score",
    *BOX,
    *(f"{point}_{axis}" for point in POINTS for axis in "xy"),
)
#: Frames whose faces are made rows at a time.
_FRAMES_AT_ONCE = 1000


def write_table(path: Path, tracks: Tracks, kind: str) -> None:
    """Writes the faces of a film, whole or not at all; a file of that name is replaced.

    Args:
        path: The file; its folder is made if need be.
        tracks: On any device.
        kind: One of `TABLE_FORMATS`. CSV and Parquet have a row a face, JSON lines an object a
            frame, with or without faces. Coordinates are pixels of the frame as it is shown, times
            are seconds from the film's beginning, track is -1 where a face belongs to none.

    Raises:
        BackendUnavailable: Parquet needs pyarrow, which is not installed.
        FileError: It can't be written.
    """
    if kind == "parquet" and not has_module("pyarrow"):
        raise BackendUnavailable(
            "writing Parquet needs pyarrow: run `pip install pyarrow` in ComfyUI's Python, or "
            "choose csv or jsonl"
        )
    with replacing(path) as beside:
        _WRITERS[kind](beside, tracks)


def _rows(tracks: Tracks) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Places of the analysed frames, and the faces of each as dictionaries of `COLUMNS`."""
    faces = tracks.faces.to("cpu")
    ids = tracks.ids.tolist()
    scores, boxes = faces.scores.tolist(), faces.boxes
    points = points_of(faces)
    images, row = faces.images_of_faces(), 0
    for place, frame in enumerate(tracks.frames):
        may_stop()
        found = []
        while row < len(images) and images[row] == place:
            values = (
                frame,
                tracks.times[place],
                len(found),
                ids[row],
                tracks.names.get(ids[row]),
                scores[row],
                *boxes[row].tolist(),
                *points[row],
            )
            found.append(dict(zip(COLUMNS, values, strict=True)))
            row += 1
        yield place, found


def points_of(faces: Faces) -> Sequence[Sequence[float | None]]:
    """For each face x and y of the points of `POINTS`; None each where it has no landmarks.

    `faces`: on the CPU.
    """
    if faces.landmarks is None:
        return [[None] * (2 * len(POINTS))] * len(faces)
    return faces.landmarks.flatten(1).tolist()


def _write_csv(path: Path, tracks: Tracks) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for _, faces in _rows(tracks):
            writer.writerows(faces)


def _write_jsonl(path: Path, tracks: Tracks) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for place, faces in _rows(tracks):
            entry = {
                "frame": tracks.frames[place],
                "time": tracks.times[place],
                "faces": [_nested(face) for face in faces],
            }
            file.write(json.dumps(entry, allow_nan=False) + "\n")


def _nested(face: dict[str, Any]) -> dict[str, Any]:
    points = [[face[f"{point}_x"], face[f"{point}_y"]] for point in POINTS]
    return {
        "face": face["face"],
        "track": face["track"],
        "name": face["name"],
        "score": face["score"],
        "box": [face[side] for side in BOX],
        "landmarks": None if points[0][0] is None else points,
    }


def _write_parquet(path: Path, tracks: Tracks) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    whole, text = arrow.int64(), arrow.string()
    kinds = {"frame": whole, "time": arrow.float64(), "face": whole, "track": whole, "name": text}
    fields = [(name, kinds.get(name, arrow.float32())) for name in COLUMNS]
    embeddings = tracks.faces.embeddings
    facts = {"film": Path(tracks.source.path or "").name, "content": tracks.source.content}
    if embeddings is not None:
        fields.append(("embedding", arrow.list_(arrow.float32(), embeddings.shape[1])))
        facts["embedding_space"] = str(tracks.faces.embedding_space)
    schema = arrow.schema(fields, metadata=facts)
    row = 0
    # Through Python's own file: names that are no Unicode are none to Arrow.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
        for faces in _many(tracks):
            columns = {name: [face[name] for face in faces] for name in COLUMNS}
            if embeddings is not None:
                flat = embeddings[row : row + len(faces)].to("cpu", torch.float32).flatten()
                columns["embedding"] = arrow.FixedSizeListArray.from_arrays(
                    arrow.array(flat.numpy()), embeddings.shape[1]
                )
            writer.write_table(arrow.table(columns, schema=schema))
            row += len(faces)


def _many(tracks: Tracks) -> Iterator[list[dict[str, Any]]]:
    """The rows of many frames at a time."""
    some: list[dict[str, Any]] = []
    for place, faces in _rows(tracks):
        some += faces
        if place % _FRAMES_AT_ONCE == _FRAMES_AT_ONCE - 1:
            yield some
            some = []
    yield some


_WRITERS = {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}
