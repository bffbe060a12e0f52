"""What is known about faces, as records for JSON and as text for people."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .faces import Faces

_SEXES = ("female", "male")


def face_records(faces: Faces, similarity: Tensor | None = None) -> list[dict[str, Any]]:
    """One record a face, of what is known about it.

    Args:
        faces: On any device.
        similarity: `[N]`, of each face to a reference, -1..1.

    Returns:
        `image` and `face` (its place in the image), counted from 0; `score` 0..1; `box` left, top,
        right, bottom in pixels; and as far as known `landmarks` (five points x, y in pixels),
        `age` in years, `sex`, `pose` (pitch, yaw, roll in degrees), `name`, `similarity`.
    """
    faces = faces.to("cpu")
    records: list[dict[str, Any]] = []
    seen: dict[int, int] = {}
    names = faces.names_of_faces()
    for row, image in enumerate(faces.images_of_faces()):
        record: dict[str, Any] = {"image": image, "face": seen.get(image, 0)}
        seen[image] = record["face"] + 1
        record["score"] = round(float(faces.scores[row]), 4)
        record["box"] = _rounded(faces.boxes[row])
        if faces.landmarks is not None:
            record["landmarks"] = _rounded(faces.landmarks[row])
        if faces.age is not None:
            record["age"] = int(faces.age[row])
        if faces.gender is not None:
            record["sex"] = _SEXES[int(faces.gender[row])]
        if faces.pose is not None:
            pitch, yaw, roll = _rounded(faces.pose[row])
            record["pose"] = {"pitch": pitch, "yaw": yaw, "roll": roll}
        if names[row] is not None:
            record["name"] = names[row]
        if similarity is not None:
            record["similarity"] = round(float(similarity[row]), 4)
        records.append(record)
    return records


def record_text(record: dict[str, Any]) -> str:
    """A record of `face_records` in one line."""
    left, top, right, bottom = (round(value) for value in record["box"])
    parts = [
        f"{record['face']}: score {record['score']:.2f}",
        f"box {right - left} x {bottom - top} at {left}, {top}",
    ]
    if "age" in record:
        parts.append(f"age {record['age']}")
    if "sex" in record:
        parts.append(record["sex"])
    if "pose" in record:
        pose = record["pose"]
        parts.append(
            f"pitch {pose['pitch']:.0f}, yaw {pose['yaw']:.0f}, roll {pose['roll']:.0f} degrees"
        )
    if "name" in record:
        parts.append(record["name"])
    if "similarity" in record:
        parts.append(f"similarity {record['similarity']:.2f}")
    return ", ".join(parts)


def image_texts(records: list[dict[str, Any]], images: int) -> list[str]:
    """A text for each image: its faces, a line each; `no face` where it has none."""
    lines: list[list[str]] = [[] for _ in range(images)]
    for record in records:
        lines[record["image"]].append(record_text(record))
    return ["\n".join(of_image) or "no face" for of_image in lines]


def _rounded(values: Tensor) -> Any:
    return torch.round(values.double(), decimals=2).tolist()
