"""Faces of one frame joined to those of the frames before: overlap, motion, likeness."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from ..errors import BackendUnavailable
from ..progress import may_stop
from .rows import Directions

#: A detection from this score on is sure; weaker ones only go on with what is left of the tracks.
SURE_SCORE = 0.6
#: Longest time without being seen after which a face is still the same by its place, in seconds.
LONGEST_GAP_S = 1.0
#: A velocity is believed for about so long, in seconds: people stop and turn.
_MOTION_S = 0.3
#: Share of the difference between the seen and the expected place that changes the velocity.
_VELOCITY_GAIN = 0.4
#: By how much boxes are widened before their overlap is taken, in sides: at once, more for each
#: second unseen, and at most.
_BUFFER, _BUFFER_PER_S, _MOST_BUFFER = 0.1, 0.9, 0.75
#: Least overlap of the widened boxes for the same face.
_LEAST_OVERLAP = 0.15
#: Largest change of a face's side: its logarithm at once, and more for each second unseen.
_SIZE_CHANGE, _SIZE_CHANGE_PER_S = 0.4, 1.0
#: Below this cosine two embeddings say that it is someone else; where the boxes overlap as much as
#: the second says, one blurred or turned face may be as unlike as it likes.
_UNLIKE, _SURE_OVERLAP = 0.2, 0.6
#: From this cosine on it is the same face elsewhere too, as far away as faces may move: sides at
#: once, more for each second unseen, and at most.
_ALIKE = 0.5
_REACH, _REACH_PER_S, _MOST_REACH = 0.5, 8.0, 4.0
#: Share of the faces that have to go on for a cut to be none.
_MOST_FACES = 0.5
#: How fast the embedding of a track follows its faces.
_LIKENESS_GAIN = 0.3


@dataclass(frozen=True, eq=False)
class FilmDetections:
    """All faces of a film as arrays on the host, by frame.

    Attributes:
        starts: `[B+1]` int64: the faces of frame i are the rows `starts[i]` to `starts[i + 1]`.
        centres, sizes: `[N,2]` float64 x, y and width, height in pixels.
        scores: `[N]` 0..1.
        directions: float32 embeddings of length 1, or None.
    """

    starts: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray
    scores: np.ndarray
    directions: Directions | None


class _Open:
    """Tracks that may go on: parallel arrays."""

    def __init__(self, dim: int | None) -> None:
        self.ids = np.zeros(0, np.int64)
        self.centres = np.zeros((0, 2))
        self.velocities = np.zeros((0, 2))
        self.sizes = np.zeros((0, 2))
        self.times = np.zeros(0)
        self.directions = None if dim is None else np.zeros((0, dim), np.float32)

    def keep(self, rows: np.ndarray) -> None:
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, value[rows])

    def begin(self, ids: np.ndarray, seen: FilmDetections, rows: np.ndarray, time: float) -> None:
        self.ids = np.concatenate((self.ids, ids))
        self.centres = np.concatenate((self.centres, seen.centres[rows]))
        self.velocities = np.concatenate((self.velocities, np.zeros((len(rows), 2))))
        self.sizes = np.concatenate((self.sizes, seen.sizes[rows]))
        self.times = np.concatenate((self.times, np.full(len(rows), time)))
        if self.directions is not None and seen.directions is not None:
            self.directions = np.concatenate((self.directions, seen.directions[rows]))

    def expected(self, time: float) -> np.ndarray:
        """Where the centres are by now, if they go on and come to rest: `[T,2]`."""
        elapsed = (time - self.times)[:, None]
        return self.centres + self.velocities * _MOTION_S * -np.expm1(-elapsed / _MOTION_S)

    def go_on(
        self, tracks: np.ndarray, seen: FilmDetections, rows: np.ndarray, time: float
    ) -> None:
        """Alpha-beta filter: the seen place counts wholly, the velocity follows."""
        elapsed = np.maximum(time - self.times[tracks], 1e-3)[:, None]
        missed_by = seen.centres[rows] - self.expected(time)[tracks]
        # The first step tells the whole velocity: there was none before.
        gain = np.where((self.velocities[tracks] == 0).all(1, keepdims=True), 1.0, _VELOCITY_GAIN)
        self.velocities[tracks] += gain * missed_by / elapsed
        self.centres[tracks] = seen.centres[rows]
        self.sizes[tracks] = seen.sizes[rows]
        self.times[tracks] = time
        if self.directions is not None and seen.directions is not None:
            old, new = self.directions[tracks], seen.directions[rows]
            mean = old + _LIKENESS_GAIN * (new - old)
            lengths = np.linalg.norm(mean, axis=1, keepdims=True)
            self.directions[tracks] = mean / np.maximum(lengths, 1e-12)


def follow(seen: FilmDetections, times: np.ndarray, cuts: Set[int]) -> np.ndarray:
    """Follows faces from frame to frame.

    In each frame the sure faces choose first among the tracks, then the weak ones among those that
    are left. The rest begin tracks.

    Args:
        seen: The faces.
        times: `[B]` seconds.
        cuts: Frames that begin a new scene: no track goes on there, unless the faces say that it
            is none, as at a flash or a great change of what is behind them.

    Returns:
        `[N]` int64, a number for each face; equal ones are the same face, and no two faces of a
        frame have the same.

    Source:
        ByteTrack: Multi-Object Tracking by Associating Every Detection Box (arXiv 2110.06864), the
        two rounds by score; Hard to Track Objects with Irregular Motions and Similar Appearances?
        Make It Easier by Buffering the Matching Space (arXiv 2211.14317), the widened boxes.
    """
    tracks = _Open(None if seen.directions is None else seen.directions.width)
    ids = np.full(len(seen.scores), -1, np.int64)
    sure = seen.scores >= SURE_SCORE
    begun = 0
    for frame, time in enumerate(times.tolist()):
        if frame % 256 == 0:
            may_stop()
        rows = np.arange(seen.starts[frame], seen.starts[frame + 1])
        tracks.keep(time - tracks.times <= LONGEST_GAP_S)
        if frame in cuts and not _most_go_on(tracks, seen, rows, time):
            tracks.keep(np.zeros(len(tracks.ids), bool))
        if not len(rows):
            continue
        if len(tracks.ids):
            likeness, _ = _likeness(tracks, seen, rows, time)
            free = np.ones(len(tracks.ids), bool)
            for chosen in (sure[rows], ~sure[rows]):
                candidates, open_tracks = np.flatnonzero(chosen), np.flatnonzero(free)
                track, face = assigned(likeness[np.ix_(open_tracks, candidates)])
                track, face = open_tracks[track], rows[candidates[face]]
                ids[face] = tracks.ids[track]
                free[track] = False
                if len(track):
                    tracks.go_on(track, seen, face, time)
        new = rows[ids[rows] < 0]
        ids[new] = np.arange(begun, begun + len(new))
        begun += len(new)
        tracks.begin(ids[new], seen, new, time)
    return ids


def _most_go_on(tracks: _Open, seen: FilmDetections, rows: np.ndarray, time: float) -> bool:
    """Whether most faces go on where they were, as the same people, so that there is no cut.

    Without embeddings two faces have to; one may be anybody's.
    """
    if not len(tracks.ids) or not len(rows):
        return False
    in_sight = tracks.times == tracks.times.max()
    likeness, overlap = _likeness(tracks, seen, rows, time)
    stays = (likeness > 0) & in_sight[:, None]
    if tracks.directions is not None and seen.directions is not None:
        stays &= tracks.directions @ seen.directions[rows].T >= _ALIKE
    else:
        stays &= overlap >= _SURE_OVERLAP
    pairs = len(assigned(np.where(stays, likeness, 0.0))[0])
    least = 2 if tracks.directions is None else 1
    return pairs >= max(least, _MOST_FACES * min(int(in_sight.sum()), len(rows)))


def _likeness(
    tracks: _Open, seen: FilmDetections, rows: np.ndarray, time: float
) -> tuple[np.ndarray, np.ndarray]:
    """How well faces go on with tracks, and how their boxes overlap: `[T,n]` each.

    The first is 0 where they can't; higher is better.
    """
    elapsed = time - tracks.times
    overlap, possible = _overlap(
        tracks.expected(time)[:, None],
        tracks.sizes[:, None],
        seen.centres[rows][None],
        seen.sizes[rows][None],
        elapsed[:, None],
    )
    value = overlap
    if tracks.directions is not None and seen.directions is not None:
        cosine = tracks.directions @ seen.directions[rows].T
        at_once = (elapsed <= LONGEST_GAP_S / 4)[:, None]
        possible &= (cosine >= _UNLIKE) | (at_once & (overlap >= _SURE_OVERLAP))
        possible |= (cosine >= _ALIKE) & _within_reach(tracks, seen, rows, elapsed)
        value = overlap + np.maximum(cosine, 0)
    return np.where(possible, value, 0.0), overlap


def _within_reach(
    tracks: _Open, seen: FilmDetections, rows: np.ndarray, elapsed: np.ndarray
) -> np.ndarray:
    """Whether faces can have moved from where tracks were last seen: `[T,n]`."""
    reach = np.minimum(_REACH + _REACH_PER_S * elapsed, _MOST_REACH)
    apart = np.linalg.norm(tracks.centres[:, None] - seen.centres[rows][None], axis=-1)
    sides = np.sqrt(tracks.sizes.prod(1))[:, None], np.sqrt(seen.sizes[rows].prod(1))[None]
    change = np.abs(np.log(sides[0] / sides[1]))
    limit = (_SIZE_CHANGE + _SIZE_CHANGE_PER_S * elapsed)[:, None]
    return (apart <= reach[:, None] * np.maximum(*sides)) & (change <= limit)


def goes_on(centres: np.ndarray, sizes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Whether each face of a track is where the one before lets expect it, and not elsewhere.

    Args:
        centres, sizes: `[T,2]` of one face over time, in pixels.
        times: `[T]` seconds.

    Returns:
        `[T-1]` bool.
    """
    elapsed = np.diff(times)
    possible = _overlap(centres[:-1], sizes[:-1], centres[1:], sizes[1:], elapsed)[1]
    return possible & (elapsed <= LONGEST_GAP_S)


def _overlap(
    centres: np.ndarray,
    sizes: np.ndarray,
    other_centres: np.ndarray,
    other_sizes: np.ndarray,
    elapsed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap over union of boxes that were both widened, and whether it may be the same face.

    Args:
        centres, sizes: `[..., 2]` of the first boxes, in pixels.
        other_centres, other_sizes: The same of the boxes that come later.
        elapsed: `[...]` by how many seconds.

    Returns:
        `[...]` 0..1, and bool.
    """
    buffer = np.minimum(_BUFFER + _BUFFER_PER_S * elapsed, _MOST_BUFFER)
    first, second = sizes * (1 + 2 * buffer[..., None]), other_sizes * (1 + 2 * buffer[..., None])
    apart = np.abs(centres - other_centres)
    common = np.minimum(np.minimum(first, second), (first + second) / 2 - apart)
    shared = np.maximum(common, 0).prod(-1)
    overlap = shared / np.maximum(first.prod(-1) + second.prod(-1) - shared, 1e-12)
    change = np.abs(np.log(np.maximum(first.prod(-1), 1e-6) / np.maximum(second.prod(-1), 1e-6)))
    limit = 2 * (_SIZE_CHANGE + _SIZE_CHANGE_PER_S * elapsed)
    return overlap, (overlap >= _LEAST_OVERLAP) & (change <= limit)


def assigned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows and columns with the highest sum of values; 0 is no pair.

    Returns:
        Rows and columns `[k]` int64, rows rising.

    Raises:
        BackendUnavailable: scipy, which ComfyUI brings, is not installed.
    """
    possible = values > 0
    if not possible.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if possible.sum(0).max() > 1 or possible.sum(1).max() > 1:
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise BackendUnavailable(
                "faces are joined to tracks by scipy, which is not installed; run "
                "`pip install scipy` in ComfyUI's Python"
            ) from error
        rows, columns = linear_sum_assignment(values, maximize=True)
        real = possible[rows, columns]
        return rows[real], columns[real]
    rows, columns = possible.nonzero()
    return rows, columns
