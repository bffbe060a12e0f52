"""Films of tracks, written in a stream: keypoints on black, and the film itself with names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..progress import advance
from ..video.encode import Sound, write_film
from ..video.frames import Frames
from .shown import Filling, annotated_pictures, covered_frames, keypoint_pictures, shown_at
from .timeline import TrackLine
from .tracks import Tracks


def write_keypoint_film(
    path: Path,
    tracks: Tracks,
    lines: Sequence[TrackLine],
    filling: Filling,
    film: Frames | None,
    sound: Path | bytes | None,
) -> None:
    """Writes the keypoint pictures of some lines as a film, a frame for each of the source.

    Between analysed frames landmarks lie on straight lines.

    Args:
        path: The file, ending in `.mp4`.
        tracks: Of the film, at least one frame of which was analysed.
        lines: Of some of its tracks.
        filling: What is shown where a face was not seen.
        film: The source, for the times of its frames; None leaves only those of analysed ones.
        sound: A film whose sound it gets.

    Raises:
        ModelError: The faces have no landmarks.
        BackendUnavailable: PyAV or OpenCV is not installed.
        FileError: The file can't be written.
    """
    if film is None:
        times = np.asarray(tracks.times, np.float64)
        numbers, all_times = np.arange(len(times)), times
    else:
        numbers, all_times = covered_frames(tracks, film.times), film.times
        times = all_times[numbers]
    shown = shown_at(tracks, lines, times, filling)
    size_hw = tracks.source.size_hw

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        pictures = keypoint_pictures(shown, len(times), size_hw)
        for done, (seconds, picture) in enumerate(zip(times.tolist(), pictures, strict=True)):
            yield seconds, picture
            advance((done + 1) / len(times))

    _write(path, frames(), size_hw, tracks, numbers, all_times, sound)


def write_annotated_film(
    path: Path,
    tracks: Tracks,
    lines: Sequence[TrackLine],
    filling: Filling,
    film: Frames,
    sound: Path | bytes | None,
) -> None:
    """Writes the film with box, landmarks, id and name of each face of some lines.

    Args and errors as of `write_keypoint_film`; frames that can't be decoded are left out.
    """
    numbers = covered_frames(tracks, film.times)
    frames = annotated_pictures(tracks, lines, film, numbers, filling)
    _write(path, frames, film.size_hw, tracks, numbers, film.times, sound)


def _write(
    path: Path,
    frames: Iterator[tuple[float, np.ndarray]],
    size_hw: tuple[int, int],
    tracks: Tracks,
    numbers: np.ndarray,
    times: np.ndarray,
    film: Path | bytes | None,
) -> None:
    """Writes frames whose times count from the film's beginning; those of a part begin at 0."""
    start = float(times[numbers[0]]) if numbers[0] > 0 else 0.0
    stop = float(times[numbers[-1] + 1]) if numbers[-1] + 1 < len(times) else None
    sound = None if film is None else Sound(film, start, stop)
    moved = ((seconds - start, pixels) for seconds, pixels in frames)
    write_film(path, moved, size_hw, tracks.source.average_rate, sound)
