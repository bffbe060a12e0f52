"""What tracks show: faces of frames, keypoint pictures, crops, and pictures with names drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..align import centred_square, warp
from ..devices import uploaded
from ..draw import annotate, draw_keypoints
from ..errors import ModelError
from ..faces import Faces
from ..images import ImageBatch
from ..pixels import quantised, resize_8bit
from ..progress import advance, may_stop
from ..video.frames import Frames
from .timeline import Shown, TrackLine
from .tracks import Tracks

#: RGB of tracks by id: light ones, which are seen on skin and black rims alike.
_COLOURS = (
    (90, 255, 120),
    (255, 200, 60),
    (90, 200, 255),
    (255, 130, 200),
    (190, 160, 255),
    (255, 140, 90),
    (120, 255, 240),
    (240, 255, 100),
)


@dataclass(frozen=True)
class Filling:
    """What is shown where a face is not seen.

    Attributes:
        missing: One of `MISSING`.
        longest_gap_s: Longer gaps stay empty.
    """

    missing: str = "interpolate"
    longest_gap_s: float = 1.0


def shown_at(
    tracks: Tracks, lines: Sequence[TrackLine], moments: np.ndarray, filling: Filling
) -> list[Shown]:
    """Where the face of each line is at moments `[M]` in seconds, never falling."""
    analysed = np.asarray(tracks.times, np.float64)
    return [line.at(moments, analysed, filling.missing, filling.longest_gap_s) for line in lines]


def faces_shown(tracks: Tracks, lines: Sequence[TrackLine], filling: Filling) -> Faces:
    """The faces of some lines in all analysed frames, in a frame in the order of the lines.

    All are in pixels of the film's size. Boxes and five landmarks are steadied. A face that was
    not seen in its frame has the score 0, and all else of the nearest one; finer landmarks are left
    out where anything was moved.
    """
    shown = shown_at(tracks, lines, np.asarray(tracks.times, np.float64), filling)
    rows = np.stack([each.rows for each in shown], 1) if shown else np.zeros((0, 0), np.int64)
    frame, line = (rows >= 0).nonzero()
    picked = torch.from_numpy(rows[frame, line])
    faces = tracks.faces[picked]
    seen = np.stack([each.seen for each in shown], 1)[frame, line] if shown else np.zeros(0, bool)
    boxes = _gathered([each.boxes for each in shown], frame, line, (4,))
    changes: dict[str, Tensor | None] = {
        "boxes": boxes,
        "scores": faces.scores.cpu() * torch.from_numpy(seen),
        "image_index": torch.from_numpy(frame.astype(np.int64)),
    }
    if faces.landmarks is not None:
        points = [each.landmarks for each in shown if each.landmarks is not None]
        changes["landmarks"] = _gathered(points, frame, line, (5, 2))
    if not torch.equal(boxes, faces.boxes.cpu()):
        changes |= {"landmarks_106": None, "landmarks_68": None}
    moved = {
        name: value if value is None else uploaded(value, faces.device)
        for name, value in changes.items()
    }
    sizes = (tracks.source.size_hw,) * len(tracks.frames)
    faces = replace(faces, image_list=tuple(frame.tolist()), image_sizes=sizes, **moved)
    return tracks.named(faces, [lines[place].track for place in line.tolist()])


def _gathered(
    values: Sequence[np.ndarray], frame: np.ndarray, line: np.ndarray, shape: tuple[int, ...]
) -> Tensor:
    if not values:
        return torch.zeros(0, *shape, dtype=torch.float32)
    return torch.from_numpy(np.stack(values, 1)[frame, line].astype(np.float32))


def keypoint_pictures(
    shown: Sequence[Shown], count: int, size_hw: tuple[int, int]
) -> Iterator[np.ndarray]:
    """A keypoint picture `[H,W,3]` uint8 RGB for each of so many moments, with all faces shown.

    Raises:
        ModelError: The faces have no landmarks.
    """
    for moment in range(count):
        may_stop()
        picture = np.zeros((*size_hw, 3), np.uint8)
        for each in shown:
            if each.landmarks is None:
                raise ModelError(
                    "the detector of this model pack gives no landmarks, which keypoint images are "
                    "made of; choose a pack whose detector has them, such as antelopev2 or "
                    "buffalo_l"
                )
            if each.rows[moment] >= 0:
                drawn = draw_keypoints(each.landmarks[moment].astype(np.float32), size_hw)
                np.copyto(picture, drawn, where=drawn.any(-1, keepdims=True))
        yield picture


def annotated_pictures(
    tracks: Tracks,
    lines: Sequence[TrackLine],
    frames: Frames,
    numbers: np.ndarray,
    filling: Filling,
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of the film with box, landmarks, id and name of each face of some lines.

    Args:
        tracks: Of the film.
        lines: Of some of the tracks.
        frames: The film.
        numbers: `[n]` int64, the wanted frames, rising; those that can't be decoded are left out.
        filling: What is drawn where a face was not seen.

    Yields:
        Seconds from the film's beginning, and `[H,W,3]` uint8 RGB.
    """
    labels = [_label(tracks, line.track) for line in lines]
    shown = shown_at(tracks, lines, frames.times[numbers], filling)
    for frame in frames.read(numbers):
        moment = int(np.searchsorted(numbers, frame.number))
        here = [place for place, each in enumerate(shown) if each.rows[moment] >= 0]
        picture = rgb_levels(frame.pixels, tracks.source.size_hw)
        boxes = [shown[place].boxes[moment] for place in here]
        points = [p[moment] for place in here if (p := shown[place].landmarks) is not None]
        faces = Faces(
            boxes=torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32),
            scores=torch.zeros(len(here), dtype=torch.float32),
            image_index=torch.zeros(len(here), dtype=torch.int64),
            image_sizes=(picture.shape[:2],),
            landmarks=torch.tensor(np.array(points), dtype=torch.float32) if points else None,
            image_list=(0,) * len(here),
        )
        texts = [labels[place] for place in here]
        colours = [_COLOURS[lines[place].track % len(_COLOURS)] for place in here]
        yield frame.time, annotate(picture, faces, texts, colours)
        advance((moment + 1) / len(numbers))


def _label(tracks: Tracks, track: int) -> str:
    name = tracks.names.get(track)
    return f"{track} {name}" if name else str(track)


def rgb_levels(pixels: Tensor, size_hw: tuple[int, int]) -> np.ndarray:
    """A frame as `[H,W,3]` uint8 RGB in order, of the size of the film.

    Args:
        pixels: `[h,w,C]`, uint8 0..255 or floating 0..1, on any device.
        size_hw: Few films have frames of several sizes: those of others are scaled to this one.
    """
    levels = quantised(pixels[None, ..., :3].expand(-1, -1, -1, 3)).cpu()
    if tuple(levels.shape[1:3]) != size_hw:
        scaled = torch.empty(1, *size_hw, 3, dtype=torch.uint8)
        resize_8bit(levels, scaled)
        levels = scaled
    return np.ascontiguousarray(levels[0].numpy())


def crops_shown(
    tracks: Tracks,
    lines: Sequence[TrackLine],
    frames: Frames,
    filling: Filling,
    size: int,
    padding: float,
) -> Tensor:
    """The square around each line's face in each analysed frame, black where it is not shown.

    Args:
        tracks: Of the film.
        lines: K of its tracks.
        frames: The film.
        filling: What is shown where a face was not seen.
        size: Side of the crops in pixels.
        padding: Room around the box, as a share of its longer side.

    Returns:
        `[B*K,size,size,3]` float32 0..1: of each analysed frame, in order, that of each line.
    """
    numbers = np.asarray(tracks.frames, np.int64)
    shown = shown_at(tracks, lines, np.asarray(tracks.times, np.float64), filling)
    crops = torch.zeros(len(numbers), len(lines), size, size, 3, dtype=torch.float32)
    wanted = np.zeros(len(numbers), bool)
    for each in shown:
        wanted |= each.rows >= 0
    for frame in frames.read(numbers[wanted]):
        moment = int(np.searchsorted(numbers, frame.number))
        advance(moment / len(numbers))
        here = [place for place, each in enumerate(shown) if each.rows[moment] >= 0]
        boxes = torch.from_numpy(np.array([shown[place].boxes[moment] for place in here]))
        # Boxes are laid out by the edges of pixels, warps by their centres.
        matrices = centred_square(boxes, size, 1 + padding)
        matrices[:, :, 2] += (matrices[:, 0, 0, None] - 1) / 2
        picture = torch.from_numpy(rgb_levels(frame.pixels, tracks.source.size_hw))
        batch = ImageBatch(picture[None], (0,), bgr=False)
        cut = warp(batch, torch.zeros(len(here), dtype=torch.int64), matrices, size)
        crops[moment, here] = cut.float() / 255
    return crops.flatten(0, 1)


def covered_frames(tracks: Tracks, times: np.ndarray) -> np.ndarray:
    """The numbers of the film's frames that the analysed ones stand for, `[n]` int64.

    From the first to the last, and behind it as many as lie between two.

    Args:
        tracks: Of the film.
        times: `[N]` seconds of all frames of the film.
    """
    numbers = np.asarray(tracks.frames, np.int64)
    if not len(numbers):
        return numbers
    step = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
    return np.arange(numbers[0], min(len(times), int(numbers[-1]) + step), dtype=np.int64)
