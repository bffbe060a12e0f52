"""Our FACE_LANDMARKS in the hands of ComfyUI's own MediaPipe nodes' functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.face_landmarks import face_landmarks
from fastface.utils.faces import Faces
from fastface.utils.pose import MEAN_FACE_68

#: What ComfyUI's nodes ask the sets for. Source: ComfyUI 0.33, `comfy_extras/nodes_mediapipe.py`.
PARTS = (
    *("face_oval", "lips", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "irises"),
    *("nose", "contours", "all", "tesselation"),
)


def mean_face() -> Faces:
    """InsightFace's mean face, upright, 100 pixels wide."""
    points = torch.tensor(np.array(MEAN_FACE_68), dtype=torch.float32)
    flat = points[:, :2] - points[:, :2].amin(0)
    # Its y points up.
    flat[:, 1] = flat[:, 1].max() - flat[:, 1] if points[8, 1] < points[27, 1] else flat[:, 1]
    points = torch.cat((flat * 100 / flat[:, 0].max(), points[:, 2:]), 1)
    return Faces(
        torch.tensor([[0.0, 0, 100, 100]]),
        torch.tensor([0.9]),
        torch.tensor([0]),
        ((100, 100),),
        torch.zeros(1, 5, 2),
        landmarks_68=points[None],
    )


def centre(made: dict, part: str) -> np.ndarray:
    points = made["frames"][0][0]["landmarks_xy"]
    return points[sorted({point for edge in made["connection_sets"][part] for point in edge})].mean(
        0
    )


def test_parts_lie_where_they_are_called():
    made = face_landmarks(mean_face())
    oval, nose = centre(made, "face_oval"), centre(made, "nose")
    # MediaPipe's left is the person's own, which is at the right of the picture.
    assert centre(made, "right_eye")[0] < nose[0] < centre(made, "left_eye")[0]
    assert centre(made, "right_eyebrow")[0] < nose[0] < centre(made, "left_eyebrow")[0]
    for side in ("left", "right"):
        assert centre(made, f"{side}_eyebrow")[1] < centre(made, f"{side}_eye")[1] < nose[1]
    assert nose[1] < centre(made, "lips")[1]
    assert abs(oval[0] - nose[0]) < 5


def rings(edges: frozenset[tuple[int, int]]) -> list[list[int]]:
    """Source: ComfyUI 0.33, `comfy_extras/nodes_mediapipe.py`, `_ordered_rings`."""
    adj: dict[int, set[int]] = {}
    for a, b in edges:
        adj.setdefault(a, set()).add(b)
        adj.setdefault(b, set()).add(a)
    visited: set[int] = set()
    found: list[list[int]] = []
    for start in adj:
        if start in visited:
            continue
        ring = [start]
        visited.add(start)
        prev, cur = -1, start
        while True:
            nxt = next((v for v in adj[cur] if v != prev), None)
            if nxt is None or nxt == start:
                break
            ring.append(nxt)
            visited.add(nxt)
            prev, cur = cur, nxt
        found.append(ring)
    return found


@pytest.mark.parametrize(
    ("part", "lengths"),
    [("face_oval", [27]), ("left_eye", [6]), ("right_eye", [6]), ("lips", [8, 12]), ("irises", [])],
)
def test_masked_parts_are_closed_rings(part: str, lengths: list[int]):
    sets = face_landmarks(mean_face())["connection_sets"]
    assert sorted(map(len, rings(sets[part]))) == lengths


@pytest.mark.parametrize("known", ["68", "5", "none"])
def test_every_part_is_there_whatever_is_known(known: str):
    faces = mean_face()
    if known != "68":
        faces = faces.with_fields(landmarks_68=None)
    if known == "none":
        faces = faces.with_fields(landmarks=None)
    made = face_landmarks(faces)
    assert set(PARTS) == set(made["connection_sets"])
    (face,) = made["frames"][0]
    count = {"68": 68, "5": 5, "none": 0}[known]
    assert face["landmarks_xy"].shape == (count, 2) and face["landmarks_3d"].shape == (count, 3)
    assert all(point < max(count, 1) for edge in made["connection_sets"]["all"] for point in edge)


def test_no_images():
    made = face_landmarks(Faces.empty())
    assert made["frames"] == [] and made["image_size"] == (0, 0)
