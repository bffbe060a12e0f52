"""The best face of a track: large, frontal, sure, and sharp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..align import centred_square, warp
from ..faces import Faces
from ..images import ImageBatch
from ..progress import advance
from ..video.frames import Frames
from .choosing import rows_of_tracks
from .frontal import frontal
from .tracks import Tracks

#: A face of this side has half of what size can give: what recognition networks see.
_SIDE_PX = 112.0
#: Pose at which nothing of a face's front is left to say, in degrees.
_FULL_TURN_DEG = 90.0
#: Candidates of a track whose pixels are looked at.
_CANDIDATES = 8
_SHARPNESS_SIDE_PX = 96


def quality(faces: Faces) -> np.ndarray:
    """How good faces are to recognise someone by, without their pixels: `[N]` float64, 0..1.

    The product of score, size and how frontal they are, by `pose` or else the five landmarks.
    """
    boxes = faces.boxes.cpu().double().numpy()
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 0))
    value = faces.scores.cpu().double().numpy() * sides / (sides + _SIDE_PX)
    if faces.pose is not None:
        turned = np.abs(faces.pose.cpu().double().numpy()[:, :2]) / _FULL_TURN_DEG
        return value * np.clip(1 - turned, 0, 1).prod(1)
    if faces.landmarks is not None:
        return value * frontal(faces.landmarks.cpu().double().numpy())
    return value


def best_rows(tracks: Tracks, ids: Sequence[int], frames: Frames | None = None) -> list[int]:
    """The row of the best face of each track.

    Args:
        tracks: Of a film.
        ids: Some of its tracks.
        frames: The film: of the best few faces of each track, from all over its time, the sharpest
            counts most. None leaves pixels out.
    """
    value = quality(tracks.faces)
    # Frames of another size than the film's can't be in one batch with the others.
    usual = np.array([size == tracks.source.size_hw for size in tracks.faces.image_sizes], bool)
    value *= usual[np.asarray(tracks.faces.images_of_faces(), np.int64)]
    rows = rows_of_tracks(tracks)
    candidates = [_spread(rows[number], value) for number in ids]
    if frames is not None:
        flat = np.concatenate([np.zeros(0, np.int64), *candidates])
        sharp = dict(zip(flat.tolist(), _sharpness(tracks, flat, frames), strict=True))
        for of_track in candidates:
            seen = np.array([sharp[row] for row in of_track.tolist()])
            value[of_track] *= seen / max(float(seen.max(initial=0)), 1e-9)
    return [int(of_track[np.argmax(value[of_track])]) for of_track in candidates]


def _spread(rows: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The best row of each of a few equal parts of a track."""
    parts = np.array_split(rows, min(_CANDIDATES, len(rows)))
    return np.array([part[np.argmax(value[part])] for part in parts])


def _sharpness(tracks: Tracks, rows: np.ndarray, frames: Frames) -> list[float]:
    """How sharp faces are in their frames; 0 where the frame can't be read."""
    images = np.asarray(tracks.faces.images_of_faces(), np.int64)[rows]
    numbers = np.asarray(tracks.frames, np.int64)[images]
    boxes = tracks.faces.boxes[rows.tolist()].cpu()
    result = [0.0] * len(rows)
    wanted = np.unique(numbers)
    for done, frame in enumerate(frames.read(wanted)):
        advance(done / len(wanted))
        for place in np.flatnonzero(numbers == frame.number).tolist():
            result[place] = sharpness(frame.pixels, boxes[place : place + 1])
    return result


def sharpness(pixels: Tensor, box: Tensor) -> float:
    """Standard deviation of the Laplacian of a face in grey levels, at one size for all faces.

    Args:
        pixels: `[H,W,C]` RGB, uint8 0..255 or floating 0..1.
        box: `[1,4]` xyxy in pixels.
    """
    batch = ImageBatch(pixels[None, ..., :3].expand(-1, -1, -1, 3).to("cpu"), (0,), bgr=False)
    matrix = centred_square(box.double(), _SHARPNESS_SIDE_PX, 1.0)
    crop = warp(batch, torch.zeros(1, dtype=torch.int64), matrix, _SHARPNESS_SIDE_PX)[0]
    grey = crop.double().mean(-1)
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    return float(laplacian.std())
