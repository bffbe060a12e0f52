"""`TrackLine`: where one person's face is at any moment of a film."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput
from ..progress import may_stop
from . import MISSING
from .association import goes_on
from .identity import rows_by_id
from .smoothing import steadied
from .tracks import Tracks

#: Times of frames are fractions; so much is no difference.
_A_BIT_S = 1e-6
_NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Shown:
    """Where a face is at some moments.

    Attributes:
        rows: `[M]` int64, the row of the nearest face in `Tracks.faces`, -1 where nothing is shown.
        seen: `[M]` whether the face was found at this very moment.
        boxes: `[M,4]` float64 xyxy in pixels; any numbers where nothing is shown.
        landmarks: `[M,5,2]` float64 in pixels, as boxes; None if the faces have none.
    """

    rows: np.ndarray
    seen: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TrackLine:
    """The faces of one track by time, as arrays on the host.

    Attributes:
        track: Its id.
        rows: `[T]` int64, rows in `Tracks.faces`.
        frames: `[T]` int64, rising: the analysed frame of each.
        times: `[T]` seconds.
        shots: `[T]` int64: where the number rises, the face is suddenly elsewhere, as at a cut.
        boxes: `[T,4]` float64 xyxy in pixels of the film's size, steadied.
        landmarks: `[T,5,2]` float64, steadied; None if the faces have none.
    """

    track: int
    rows: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    shots: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray | None

    def at(
        self, moments: np.ndarray, analysed: np.ndarray, missing: str, longest_gap_s: float
    ) -> Shown:
        """Where the face is at some moments.

        Between two analysed frames that both show it, it is on the straight line between them.

        Args:
            moments: `[M]` seconds, never falling.
            analysed: `[B]` seconds of all analysed frames, never falling.
            missing: One of `MISSING`, for gaps: analysed frames without it. A gap between two
                shots, and one before the first and behind the last face, has no line.
            longest_gap_s: Longer gaps stay empty, as with `black`; of `previous` so much is filled.

        Raises:
            InvalidInput: No such way to fill gaps.
        """
        if missing not in MISSING:
            raise InvalidInput(f"got missing {missing!r}, expected one of {', '.join(MISSING)}")
        last = len(self.times) - 1
        before = np.searchsorted(self.times, moments + _A_BIT_S, side="right") - 1
        begun = before >= 0
        before = np.maximum(before, 0)
        after = np.minimum(before + 1, last)
        since = np.maximum(moments - self.times[before], 0)
        length = self.times[after] - self.times[before]
        same_shot = (self.shots[before] == self.shots[after]) & (after > before)
        frame = np.searchsorted(analysed, moments + _A_BIT_S, side="right") - 1
        is_gap = frame > self.frames[before]
        between = same_shot & (~is_gap | (missing == "interpolate"))
        between &= (self.frames[after] - self.frames[before] == 1) | (
            (missing == "interpolate") & (length <= longest_gap_s + _A_BIT_S)
        )
        held = ~is_gap | ((missing == "previous") & (since <= longest_gap_s + _A_BIT_S))
        shown = begun & (between | held)
        share = np.where(between, since / np.maximum(length, _A_BIT_S), 0.0)
        nearest = np.where(share > 0.5, after, before)
        return Shown(
            rows=np.where(shown, self.rows[nearest], _NOWHERE),
            seen=begun & (since <= _A_BIT_S),
            boxes=_between(self.boxes, before, after, share),
            landmarks=None
            if self.landmarks is None
            else _between(self.landmarks, before, after, share),
        )


def _between(
    values: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray
) -> np.ndarray:
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return values[before] + share * (values[after] - values[before])


def lines_of(tracks: Tracks, ids: Iterable[int], strength: float) -> list[TrackLine]:
    """The lines of some tracks, in their order. Reads the faces' device.

    Args:
        tracks: Of a film.
        ids: Tracks; those that have no face are left out.
        strength: Of the smoothing, 0 to 1.

    Raises:
        InvalidInput: The strength is not from 0 to 1.
    """
    faces = tracks.faces
    numbers = tracks.ids.cpu().numpy()
    of_track = {int(numbers[rows[0]]): rows for rows in rows_by_id(numbers)}
    boxes = faces.boxes.cpu().double().numpy()
    landmarks = None if faces.landmarks is None else faces.landmarks.cpu().double().numpy()
    image = np.asarray(faces.images_of_faces(), np.int64)
    scale_xy = _scales(tracks)[image]
    boxes = boxes * np.tile(scale_xy, 2)
    landmarks = None if landmarks is None else landmarks * scale_xy[:, None]
    times = np.asarray(tracks.times, np.float64)
    lines = []
    for track in ids:
        may_stop()
        if track not in of_track:
            continue
        rows = of_track[track]
        rows = rows[np.argsort(image[rows], kind="stable")]
        at, of = times[image[rows]], boxes[rows]
        sides = np.sqrt(np.maximum((of[:, 2:] - of[:, :2]).prod(1), 1e-6))
        centres, sizes = (of[:, :2] + of[:, 2:]) / 2, of[:, 2:] - of[:, :2]
        shots = np.concatenate(([0], np.cumsum(~goes_on(centres, sizes, at))))
        points = [of.reshape(len(rows), -1, 2)]
        if landmarks is not None:
            points.append(landmarks[rows])
        steady = np.concatenate(points, 1)
        for shot in rows_by_id(shots):
            steady[shot] = steadied(steady[shot], at[shot], sides[shot], strength)
        lines.append(
            TrackLine(
                track,
                rows,
                image[rows],
                at,
                shots,
                steady[:, :2].reshape(-1, 4),
                None if landmarks is None else steady[:, 2:],
            )
        )
    return lines


def _scales(tracks: Tracks) -> np.ndarray:
    """What brings coordinates of each analysed frame to the film's size: `[B,2]` for x and y."""
    sizes = np.array(tracks.faces.image_sizes, np.float64).reshape(-1, 2)
    return np.array(tracks.source.size_hw, np.float64)[::-1] / sizes[:, ::-1]
