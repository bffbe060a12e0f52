"""A run of FastFace Video: the film that its inputs name, which frames of it, the report."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from torch import Tensor

from ...pipeline.film.film_analysis import FilmAnalysis
from ...utils.errors import InvalidInput
from ...utils.host.io_folders import input_file
from ...utils.tracks.tracks import NO_TRACK
from ...utils.video.film import FilmFile
from ...utils.video.frames import Frames, ImageFrames
from ...utils.video.selection import Selection
from ...utils.video.video_objects import TrimmedFilm, film_of_video
from ..texts import counted, faces_in, places

#: Tracks that the report describes before it only counts the rest.
_MOST_TRACKS = 20


def given_film(film: str, video: Any, images: Tensor | None, fps: float) -> TrimmedFilm:
    """The one film that was given.

    Args:
        film: Name of a film in the input folder, empty for none.
        video: An object of a VIDEO socket, or None.
        images: `[B,H,W,C]` frames, or None.
        fps: Of images, frames a second.

    Raises:
        InvalidInput: There is none, or more than one.
    """
    given = {"film": bool(film), "video": video is not None, "images": images is not None}
    named = [name for name, is_given in given.items() if is_given]
    if len(named) != 1:
        raise InvalidInput(
            f"got {' and '.join(named) or 'no film'}, expected one of film, video and images; "
            + ("leave one and take away the others" if named else "choose or connect one")
        )
    if images is not None:
        return TrimmedFilm(ImageFrames(images, Fraction(fps).limit_denominator(100_000)))
    if video is not None:
        return film_of_video(video)
    return TrimmedFilm(FilmFile(input_file(film)))


def wanted_frames(
    film: TrimmedFilm, every_nth: int, frames: int, start_seconds: float, end_seconds: float
) -> Selection:
    """The frames that are wanted; seconds count from where a trimmed film begins.

    Raises:
        InvalidInput: The part ends before it begins.
    """
    if end_seconds and end_seconds <= start_seconds:
        raise InvalidInput(
            f"got end_seconds {end_seconds:g}, expected more than start_seconds, which is "
            f"{start_seconds:g}, or 0 for the film's end"
        )
    start, end = film.start_seconds + start_seconds, film.end_seconds
    if end_seconds:
        wanted = film.start_seconds + end_seconds
        end = wanted if end is None else min(end, wanted)
    return Selection(every_nth, frames, start, end)


def report_lines(frames: Frames, found: FilmAnalysis, written: str) -> Iterator[str]:
    """The lines of the report.

    Args:
        frames: The film.
        found: What was found in it.
        written: Name of the file with all faces, empty for none.
    """
    tracks = found.tracks
    count = len(tracks.frames)
    height, width = frames.size_hw
    turned = f", turned by {frames.rotation} degrees" if frames.rotation else ""
    yield (
        f"{count} of {counted(len(frames.times), 'frame')} analysed, {width} x {height}{turned}, "
        f"{float(frames.average_rate):.5g} frames/s, from {tracks.times[0]:.2f} s to "
        f"{tracks.times[-1]:.2f} s"
    )
    new = count - found.kept
    if found.kept:
        yield f"{counted(found.kept, 'frame')} were kept from an earlier run"
    if new > 0:
        rate = new / max(found.seconds, 1e-3)
        how = "every frame" if found.full_every == 1 else f"every {found.full_every}th frame"
        yield f"{counted(new, 'frame')} in {found.seconds:.1f} s, {rate:.3g}/s; {how} in full"
    yield from frames.notes
    if found.broken:
        yield f"{counted(len(found.broken), 'broken frame')} skipped: {places(found.broken)}"
    people = tracks.track_ids()
    yield f"{faces_in(tracks.faces)}, {counted(len(people), 'track')}"
    if found.cuts:
        at = ", ".join(f"{tracks.times[cut]:.2f}" for cut in found.cuts[:_MOST_TRACKS])
        rest = f" and {len(found.cuts) - _MOST_TRACKS} more" if found.cuts[_MOST_TRACKS:] else ""
        yield f"{counted(len(found.cuts), 'cut')} between scenes, at {at}{rest} s"
    yield from _people(found)
    if written:
        yield f"written to {written} in ComfyUI's output folder"


def _people(found: FilmAnalysis) -> Iterator[str]:
    """A line a track: its id, its faces, and when it is seen."""
    tracks = found.tracks
    seen: dict[int, list[int]] = {}
    for image, track in zip(tracks.faces.images_of_faces(), tracks.ids.tolist(), strict=True):
        if track != NO_TRACK:
            seen.setdefault(track, []).append(image)
    for track in sorted(seen)[:_MOST_TRACKS]:
        first, last = tracks.times[seen[track][0]], tracks.times[seen[track][-1]]
        yield f"track {track}: {counted(len(seen[track]), 'face')}, {first:.2f} s to {last:.2f} s"
    if len(seen) > _MOST_TRACKS:
        yield f"and {len(seen) - _MOST_TRACKS} more tracks"
