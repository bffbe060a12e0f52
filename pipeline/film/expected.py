"""Where faces must be in the frames between two that were analysed in full, and who was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...utils.boxes import overlaps
from ...utils.faces import Faces
from .windows import Sighting

#: What two boxes of one face may differ by from one frame in full to the next: the places of their
#: centres in sides of the larger one, and their sides.
_MOST_SHIFT = 1.0
_MOST_RATIO = 1.8
#: The same from where a face is expected to where it is.
_MOST_MISS = 0.75
#: Overlap from which two detections are of one face.
_SAME_FACE = 0.4

#: By in how many of the two frames in full it is a face: the least score, in shares of the
#: threshold, at which it is there, and how much is cut out around it, in sides of the face. Weak
#: ones are recognised by what is around them, too: they score less in a window than in the frame.
_LOOK = {2: (0.35, 1.6), 1: (0.6, 2.5), 0: (0.8, 3.0)}
#: A face that was surer than the threshold by this much, before and after, must be there.
_SURE = 0.1
#: Detections of a frame in full that are no faces by themselves, down to this share of the
#: threshold, are looked for beside it: there they may be.
WEAK = 0.6


@dataclass(frozen=True, eq=False)
class FullFrame:
    """A frame that was analysed in full.

    Attributes:
        faces: What was found, of one image, described.
        weak: `[M,4]` float32 boxes of what was too weak for a face, in source pixels.
    """

    faces: Faces
    weak: np.ndarray

    @property
    def boxes(self) -> np.ndarray:
        """Those of the faces, then the weak ones, `[N+M,4]`."""
        return np.concatenate([self.faces.boxes.numpy(), self.weak])

    def score(self, row: int) -> float:
        """Of a face; 0 of a weak one."""
        return float(self.faces.scores[row]) if self.is_face(row) else 0.0

    def is_face(self, row: int) -> bool:
        return row < len(self.faces)


@dataclass(frozen=True, eq=False)
class Expected:
    """A face that must be about here in a frame between, or may be.

    Attributes:
        place: Of the frame in its chunk.
        box: `[4]` xyxy in source pixels.
        known: The frame in full, by place, and the row of the same face in it; None where it is a
            face in none.
        least: Lowest score at which it is there, as a share of the threshold.
        around: See `Window.around`.
        is_sure: Whether it is missed where it is not found.
    """

    place: int
    box: np.ndarray
    known: tuple[int, int] | None
    least: float
    around: float
    is_sure: bool


def expected_between(
    first: int, second: int, before: FullFrame, after: FullFrame, threshold: float
) -> Iterator[Expected]:
    """The faces to look for in the frames between two.

    Args:
        first, second: Places of the frames in full.
        before, after: What was found in them.
        threshold: Of the detector.
    """
    if second - first < 2:
        return
    boxes, others = before.boxes, after.boxes
    pairs = _same_faces(boxes, others)
    alone = sorted(set(range(len(boxes))) - {row for row, _ in pairs})
    alone_after = sorted(set(range(len(others))) - {other for _, other in pairs})
    for place in range(first + 1, second):
        share = (place - first) / (second - first)
        for row, other in pairs:
            score, other_score = before.score(row), after.score(other)
            nearest = [(score, (first, row)), (other_score, (second, other))]
            if share > 0.5:
                nearest.reverse()
            known = next((each for score, each in nearest if score), None)
            sides = int(bool(score)) + int(bool(other_score))
            box = boxes[row] + np.float32(share) * (others[other] - boxes[row])
            is_sure = min(score, other_score) >= threshold + _SURE
            yield Expected(place, box, known, *_LOOK[sides], is_sure)
        for frame, full, rows in ((first, before, alone), (second, after, alone_after)):
            for row in rows:
                known = (frame, row) if full.is_face(row) else None
                look = _LOOK[0 if known is None else 1]
                yield Expected(place, full.boxes[row], known, *look, False)


def seen_of(
    faces: Sequence[Expected], sightings: Sequence[Sighting], threshold: float
) -> list[tuple[Expected, Sighting]]:
    """Who of the expected faces of a frame was seen, the surest first.

    Args:
        faces: In one frame.
        sightings: In the same; one face may be there several times.
        threshold: Of the detector.
    """
    if not faces or not sightings:
        return []
    boxes = np.stack([each.box for each in sightings])
    least = np.array([each.least for each in faces]) * threshold
    scores = np.array([each.score for each in sightings])
    shifts = _shifts(np.stack([each.box for each in faces]), boxes)
    shifts = np.where(scores >= least[:, None], shifts, np.inf)
    shared = overlaps(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    free = np.ones(len(sightings), bool)
    pairs: dict[int, int] = {}
    # Faces that are known take what they are nearest to before those that only may be there.
    for is_known in (True, False):
        for row, other in _by_distance(shifts, _MOST_MISS):
            if row not in pairs and free[other] and is_known == (faces[row].known is not None):
                pairs[row] = other
                free &= shared[other] <= _SAME_FACE
    seen = [(faces[row], sightings[other]) for row, other in pairs.items()]
    return sorted(seen, key=lambda pair: -pair[1].score)


def _same_faces(boxes: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Rows of `boxes [N,4]` and `others [M,4]` that are one face, the nearest pairs first."""
    rows: dict[int, int] = {}
    for row, other in _by_distance(_shifts(boxes, others), _MOST_SHIFT):
        if row not in rows and other not in rows.values():
            rows[row] = other
    return list(rows.items())


def _shifts(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far centres are apart, in sides of the larger box, `[N,M]`; infinite for other sizes."""
    sides, other_sides = (
        np.maximum((each[:, 2:] - each[:, :2]).max(1, initial=1), 1) for each in (boxes, others)
    )
    larger = np.maximum(sides[:, None], other_sides)
    smaller = np.minimum(sides[:, None], other_sides)
    centres, other_centres = ((each[:, :2] + each[:, 2:]) / 2 for each in (boxes, others))
    shifts = np.linalg.norm(centres[:, None] - other_centres, axis=2) / larger
    return np.where(larger <= _MOST_RATIO * smaller, shifts, np.inf)


def _by_distance(shifts: np.ndarray, most: float) -> list[tuple[int, int]]:
    """Rows and columns of `shifts [N,M]` up to some distance, the nearest first."""
    rows, columns = np.nonzero(shifts <= most)
    order = np.argsort(shifts[rows, columns], kind="stable")
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))
