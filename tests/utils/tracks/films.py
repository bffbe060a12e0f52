"""Faces of films that were never filmed: boxes that move, with embeddings of people."""

from __future__ import annotations

from fractions import Fraction

import torch

from fastface.utils.faces import Faces
from fastface.utils.tracks.tracks import FilmSource

RATE = 25
SIZE_HW = (480, 640)
DIM = 64
SOURCE = FilmSource(None, SIZE_HW, 0, Fraction(RATE), "content")

#: One face: left, top, width, person, score.
Seen = tuple[float, float, float, int, float]


def faces_of(frames: list[list[Seen]], embedded: bool = True, seed: int = 0) -> Faces:
    """Faces of these frames; each person has an embedding of its own, each face a noisy one."""
    draw = torch.Generator().manual_seed(seed)
    people = torch.randn(32, DIM, generator=torch.Generator().manual_seed(1))
    flat = [(frame, *face) for frame, seen in enumerate(frames) for face in seen]
    boxes = [(x, y, x + w, y + 1.2 * w) for _, x, y, w, _, _ in flat]
    embeddings = None
    if embedded:
        of_face = people[[person for *_, person, _ in flat]]
        embeddings = of_face + 0.5 * torch.randn(of_face.shape, generator=draw)
    return Faces(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([score for *_, score in flat], dtype=torch.float32),
        image_index=torch.tensor([frame for frame, *_ in flat], dtype=torch.int64),
        image_sizes=(SIZE_HW,) * len(frames),
        embeddings=embeddings,
        embedding_space="people" if embedded else None,
    )


def people_of(frames: list[list[Seen]]) -> list[int]:
    """Who each face is."""
    return [person for seen in frames for *_, person, _ in seen]


def times_of(count: int) -> list[float]:
    return [frame / RATE for frame in range(count)]
