"""`KnownFaces`: some frames in full, and in those between only where their faces must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from ...utils.boxes import overlaps
from ...utils.faces import Faces
from ...utils.images import Images
from ..insightface_compat.facade import FaceAnalysis
from .chunks import Chunk
from .windows import Sighting, Window, faces_in_windows

#: Most seconds, and frames, from one frame in full to the next.
_MOST_SECONDS = 0.2
_MOST_BETWEEN = 10

#: What two boxes of one face may differ by from one frame in full to the next: the places of their
#: centres in sides of the larger one, and their sides.
_MOST_SHIFT = 1.0
_MOST_RATIO = 1.8
#: The same from where a face is expected to where it is.
_MOST_MISS = 0.75
#: A face that was surer than the threshold by this much, before and after, must be there.
_SURE = 0.1
#: Overlap from which two detections are of one face.
_SAME_FACE = 0.4


def full_every(times: np.ndarray) -> int:
    """Every how many frames one is analysed in full: five a second, and each where fewer are seen.

    Args:
        times: `[N]` seconds of the frames that are analysed.
    """
    if len(times) < 2:
        return 1
    step = float(times[-1] - times[0]) / (len(times) - 1)
    return int(np.clip(round(_MOST_SECONDS / max(step, 1e-6)), 1, _MOST_BETWEEN))


@dataclass(frozen=True, eq=False)
class _Expected:
    """A face that must be about here in a frame between.

    Attributes:
        place: Of the frame in its chunk.
        box: `[4]` xyxy in source pixels.
        of: The frame in full, and the face's row there, that it has its embedding from.
        is_sure: Whether it is missed where it is not found.
    """

    place: int
    box: np.ndarray
    of: tuple[int, int]
    is_sure: bool


class KnownFaces:
    """Looks for the faces of the frames in full in those between, in small windows, at their scale.

    In full are every so many frames, those before and after a cut, and those between in which a
    sure face is not where it must be. Somebody new appears with the next frame in full, and in
    those before it as far as the face is where it is then. Faces between have the embedding of the
    same face in the nearest frame in full.
    """

    with_next = True

    def __init__(self, face_analysis: FaceAnalysis, tasks: Sequence[str], every: int) -> None:
        """
        Args:
            face_analysis: The models and settings to use.
            tasks: What is found out about the faces of frames in full.
            every: Every so many frames one is analysed in full.
        """
        self.multiple = every
        self._face_analysis = face_analysis
        self._tasks = tasks
        self._next: Faces | None = None

    def faces_of(self, chunk: Chunk, is_cut: Sequence[bool]) -> Faces:
        """The faces of a chunk, on the CPU; see `EveryFrame.faces_of`."""
        full = self._places_in_full(chunk, is_cut)
        known: dict[int, Faces] = {}
        if self._next is not None:
            known[0] = self._next
        known |= self._in_full(chunk, [place for place in full if place not in known])
        self._next = known[len(chunk)] if chunk.has_next else None
        expected = [
            each
            for first, second in pairwise(full)
            for each in _expected(first, second, known[first], known[second], self._sure_score)
        ]
        found, missed = self._between(chunk, expected, known)
        known |= found
        known |= self._in_full(chunk, missed)
        none = known[full[0]][[]]
        return Faces.cat([known.get(place, none) for place in range(len(chunk))])

    @property
    def _sure_score(self) -> float:
        return self._face_analysis.options().threshold + _SURE

    def _places_in_full(self, chunk: Chunk, is_cut: Sequence[bool]) -> list[int]:
        """Which pictures of a chunk, its next one included, are analysed in full."""
        last = len(chunk.small) - 1
        places = {*range(0, last + 1, self.multiple), last}
        for place in range(1, last + 1):
            if is_cut[place]:
                places |= {place - 1, place}
        return sorted(places)

    def _in_full(self, chunk: Chunk, places: Sequence[int]) -> dict[int, Faces]:
        """The faces of some pictures of a chunk, each by its place."""
        if not places:
            return {}
        images = Images.from_comfy(chunk.pixels[list(places)])
        faces = self._face_analysis.analyze(images, self._tasks, remember=False).to("cpu")
        return {place: faces.of_image(row) for row, place in enumerate(places)}

    def _between(
        self, chunk: Chunk, expected: Sequence[_Expected], known: Mapping[int, Faces]
    ) -> tuple[dict[int, Faces], list[int]]:
        """The faces of frames between by place, and the frames that miss a sure one."""
        windows = [Window(each.place, each.box) for each in expected]
        options = self._face_analysis.options()
        sightings = self._face_analysis.with_models(
            lambda analyzer: faces_in_windows(analyzer, chunk.pixels, windows, options)
        )
        by_place: dict[int, list[_Expected]] = {}
        for each in expected:
            by_place.setdefault(each.place, []).append(each)
        found: dict[int, Faces] = {}
        missed = []
        for place, faces in by_place.items():
            pairs = _matched(faces, sightings.get(place, []))
            met = {id(face) for face, _ in pairs}
            if any(face.is_sure and id(face) not in met for face in faces):
                missed.append(place)
            elif pairs:
                found[place] = _faces_of(pairs, known)
        return found, missed


def _expected(
    first: int, second: int, before: Faces, after: Faces, sure_score: float
) -> Iterator[_Expected]:
    """The faces that must be in the frames between two, by those of both.

    Args:
        first, second: Places of the frames in full.
        before, after: Their faces.
        sure_score: From which a face must be there.
    """
    if second - first < 2:
        return
    boxes, others = before.boxes.numpy(), after.boxes.numpy()
    pairs = _same_faces(boxes, others)
    for place in range(first + 1, second):
        share = (place - first) / (second - first)
        for row, other in pairs:
            box = boxes[row] + share * (others[other] - boxes[row])
            of = (first, row) if share <= 0.5 else (second, other)
            least = min(float(before.scores[row]), float(after.scores[other]))
            yield _Expected(place, box, of, least >= sure_score)
        for row in set(range(len(boxes))) - {row for row, _ in pairs}:
            yield _Expected(place, boxes[row], (first, row), False)
        for other in set(range(len(others))) - {other for _, other in pairs}:
            yield _Expected(place, others[other], (second, other), False)


def _same_faces(boxes: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Rows of `boxes [N,4]` and `others [M,4]` that are one face, the nearest pairs first."""
    shifts = _shifts(boxes, others)
    pairs = []
    for row, other in _by_distance(shifts, _MOST_SHIFT):
        if all(row != each and other != one for each, one in pairs):
            pairs.append((row, other))
    return pairs


def _matched(
    faces: Sequence[_Expected], sightings: Sequence[Sighting]
) -> list[tuple[_Expected, Sighting]]:
    """Who of the expected faces of a frame was seen, the surest first."""
    if not faces or not sightings:
        return []
    seen = np.stack([each.box for each in sightings])
    shifts = _shifts(np.stack([each.box for each in faces]), seen)
    shared = overlaps(torch.from_numpy(seen), torch.from_numpy(seen)).numpy()
    free = np.ones(len(sightings), bool)
    pairs: dict[int, int] = {}
    for row, other in _by_distance(shifts, _MOST_MISS):
        if row not in pairs and free[other]:
            pairs[row] = other
            # A face that lies in several windows was seen in each.
            free &= shared[other] <= _SAME_FACE
    matched = [(faces[row], sightings[other]) for row, other in pairs.items()]
    return sorted(matched, key=lambda pair: -pair[1].score)


def _shifts(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far centres are apart, in sides of the larger box, `[N,M]`; infinite for other sizes."""
    sides, other_sides = (
        np.maximum((each[:, 2:] - each[:, :2]).max(1), 1) for each in (boxes, others)
    )
    larger = np.maximum(sides[:, None], other_sides)
    smaller = np.minimum(sides[:, None], other_sides)
    centres, other_centres = ((each[:, :2] + each[:, 2:]) / 2 for each in (boxes, others))
    shifts = np.linalg.norm(centres[:, None] - other_centres, axis=2) / larger
    return np.where(larger <= _MOST_RATIO * smaller, shifts, np.inf)


def _by_distance(shifts: np.ndarray, most: float) -> Iterator[tuple[int, int]]:
    """Rows and columns of `shifts [N,M]` up to some distance, the nearest first."""
    rows, columns = np.nonzero(shifts <= most)
    order = np.argsort(shifts[rows, columns], kind="stable")
    yield from zip(rows[order].tolist(), columns[order].tolist(), strict=True)


def _faces_of(pairs: Sequence[tuple[_Expected, Sighting]], known: Mapping[int, Faces]) -> Faces:
    """The faces of one frame, with what is known of them from frames in full."""
    whole = [known[face.of[0]][[face.of[1]]] for face, _ in pairs]
    faces = Faces.cat(whole)
    landmarks = [sighting.landmarks for _, sighting in pairs if sighting.landmarks is not None]
    return replace(
        faces,
        boxes=torch.from_numpy(np.stack([sighting.box for _, sighting in pairs])),
        scores=torch.tensor([sighting.score for _, sighting in pairs], dtype=torch.float32),
        landmarks=torch.from_numpy(np.stack(landmarks)) if landmarks else None,
        image_index=torch.zeros(len(pairs), dtype=torch.int64),
        image_list=(0,) * len(pairs),
        image_sizes=whole[0].image_sizes,
    )
