"""Tracks out of faces: which faces of a film are of one person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from ..devices import uploaded
from ..errors import InvalidInput
from ..faces import Faces
from .association import SURE_SCORE, FilmDetections, follow
from .frontal import RECOGNISABLE, frontal
from .identity import join_by_person, rows_by_id, split_by_person
from .rows import Directions, OrderedRows
from .tracks import NO_TRACK, FilmSource, Tracks

#: Least cosine of the mean embeddings of two pieces of one person.
SAME_PERSON = 0.4
#: A track that was never sure counts from so many faces on, of those that look ahead, or of all.
_LEAST_FACING, _LEAST_FACES = 3, 10


def link(
    faces: Faces,
    times: Sequence[float],
    frames: Sequence[int],
    source: FilmSource,
    *,
    cuts: Iterable[int] = (),
    names: Mapping[int, str] | None = None,
    same_person: float = SAME_PERSON,
) -> Tracks:
    """Finds out which faces of a film are of one person. Pure: the same faces give the same tracks.

    Faces are followed by overlap and motion, and by likeness where they have embeddings; a face
    that is not seen for up to a second goes on. With embeddings, people who leave and return, and
    who are in several scenes, are one track; without, a cut and a longer absence end a track.
    Weak detections go on with tracks; where they are all there is of one, ten make a track, or
    three that look ahead.

    Args:
        faces: All faces of all analysed frames, image i being the i-th of them; on any device,
            which is read once. The order of the faces within a frame does not matter.
        times: Seconds of each analysed frame, never falling.
        frames: Number in the film of each analysed frame, rising.
        source: Where the frames come from.
        cuts: Analysed frames, counted from 0, that begin a new scene.
        names: Names of tracks, by id.
        same_person: Least cosine of mean embeddings that makes one person of two pieces.

    Returns:
        Tracks whose ids count from 0 in the order of their first faces, in one frame from left to
        right.

    Raises:
        InvalidInput: Numbers of frames, times and images that don't fit together.
        BackendUnavailable: scipy, which ComfyUI brings, is not installed.
    """
    count, scenes = len(faces.image_sizes), frozenset(cuts)
    if not len(times) == len(frames) == count:
        raise InvalidInput(
            f"got {len(times)} times and {len(frames)} frame numbers for faces of {count} images, "
            "expected one of each an image"
        )
    if not all(0 <= cut < count for cut in scenes):
        raise InvalidInput(
            f"got cuts at {sorted(scenes)}, expected places among the {count} analysed frames, "
            "counted from 0"
        )
    image = np.asarray(faces.images_of_faces(), np.int64)
    boxes = faces.boxes.detach().cpu().double().numpy()
    scores = faces.scores.detach().cpu().double().numpy()
    # In one frame from left to right, whatever order the detector had.
    order = np.lexsort((scores, *boxes.T[::-1], image))
    image, boxes, scores = image[order], boxes[order], scores[order]
    embeddings = directions = None
    if faces.embeddings is not None:
        values = faces.embeddings.detach().cpu().numpy()
        embeddings, directions = OrderedRows(values, order), Directions(values, order)
    seen = FilmDetections(
        starts=np.searchsorted(image, np.arange(count + 1)),
        centres=(boxes[:, :2] + boxes[:, 2:]) / 2,
        sizes=np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3),
        scores=scores,
        directions=directions,
    )
    facing = np.ones(len(scores), bool)
    if faces.landmarks is not None:
        landmarks = faces.landmarks.detach().cpu().double().numpy()[order]
        facing = frontal(landmarks) >= RECOGNISABLE
    ids = follow(seen, np.asarray(times, np.float64), scenes)
    if embeddings is not None:
        ids = split_by_person(ids, boxes, embeddings)
        clear = facing & (scores >= SURE_SCORE)
        ids = join_by_person(ids, image, embeddings, clear, same_person)
    numbered = np.empty(len(ids), np.int64)
    numbered[order] = _numbered(ids, scores, facing)
    return Tracks(
        faces=faces,
        ids=uploaded(torch.from_numpy(numbered), faces.device),
        frames=tuple(frames),
        times=tuple(times),
        source=source,
        names=MappingProxyType(dict(names or {})),
    )


def _numbered(ids: np.ndarray, scores: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Ids from 0 by first face, `[N]`; tracks of a few unsure faces are none."""
    result = np.full(len(ids), NO_TRACK, np.int64)
    tracks = [
        rows
        for rows in rows_by_id(ids)
        if scores[rows].max() >= SURE_SCORE
        or len(rows) >= _LEAST_FACES
        or facing[rows].sum() >= _LEAST_FACING
    ]
    for number, rows in enumerate(sorted(tracks, key=lambda rows: rows[0])):
        result[rows] = number
    return result
