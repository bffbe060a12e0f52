"""`FastFaceVideo`: the faces of a film, however long it is, and who they are."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..pipeline.film import ACCURACIES, EXACT
from ..pipeline.film.tables import FORMATS, write_table
from ..utils import host
from ..utils.errors import InvalidInput
from ..utils.host.files import input_file, input_films, output_file
from ..utils.tracks.tracks import NO_TRACK
from ..utils.video.film import FilmFile
from ..utils.video.frames import Frames, ImageFrames
from ..utils.video.selection import Selection
from ..utils.video.sources import TrimmedFilm, film_of_video
from .progress import reporter
from .sockets import CATEGORY, FACE_ANALYSIS, FACE_ANALYSIS_TOOLTIP, FACES, TRACKS, VIDEO
from .texts import counted, faces_in, places, with_text

if TYPE_CHECKING:
    from ..pipeline.film.analysis import FilmAnalysis
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_NO_FILM = "(from video or images)"
_NOT_WRITTEN = "none"
_LONGEST_SECONDS = 1e6
#: Tracks that the report describes before it only counts the rest.
_MOST_TRACKS = 20


class FastFaceVideo:
    DISPLAY_NAME = "FastFace Video"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "video face detect",
        "face tracking",
        "track faces",
        "film",
        "movie faces",
        "face detection video",
    )
    DESCRIPTION = (
        "Finds the faces of a whole film and who is who, without loading it: frames are decoded "
        "while those before are analysed. What was found is kept, so that a run that was stopped "
        "goes on where it was."
    )
    FUNCTION = "analyze"
    OUTPUT_NODE = True
    RETURN_TYPES = (TRACKS, FACES, "STRING", "INT")
    RETURN_NAMES = ("tracks", "faces", "report", "frames")
    OUTPUT_TOOLTIPS = (
        "All faces of the film, and which of them are of one person, for FastFace Tracks; every "
        "input for faces takes them too.",
        "The same faces; their images are the frames that were analysed, in their order.",
        "Frames, speed, people and when they are seen, cuts, and what could not be read.",
        "Number of frames that were analysed.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "film": (
                    [_NO_FILM, *input_films()],
                    {
                        "tooltip": "A film in ComfyUI's input folder. Leave it as it is where "
                        "video or images is connected."
                    },
                ),
                "every_nth": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 10000,
                        "step": 1,
                        "tooltip": "1 analyses every frame, 2 every second one, and so on.",
                    },
                ),
                "frames": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1000000,
                        "step": 1,
                        "tooltip": "So many frames, spread evenly over the film or the part of it; "
                        "every_nth does not count then. 0 leaves it to every_nth.",
                    },
                ),
                "start_seconds": _seconds("Where to begin, in seconds from the film's beginning."),
                "end_seconds": _seconds(
                    "Where to end, in seconds from the film's beginning; 0 is the film's end."
                ),
                "accuracy": (
                    list(ACCURACIES),
                    {
                        "tooltip": "`exact` analyses every frame like a single image. `fast` "
                        "analyses five frames a second in full, and those at cuts; in the frames "
                        "between it looks for the faces of these where they must be, and takes "
                        "their embeddings from there. Somebody new appears within 0.2 seconds."
                    },
                ),
                "write": (
                    [_NOT_WRITTEN, *FORMATS],
                    {
                        "tooltip": "Writes all faces to a file in ComfyUI's output folder: `csv` "
                        "and `parquet` a row a face, `jsonl` a line a frame. Parquet has the "
                        "embeddings too, and needs pyarrow."
                    },
                ),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "fastface/faces",
                        "tooltip": "How that file's name begins, with folders in ComfyUI's output; "
                        "a number follows, so that none is replaced.",
                    },
                ),
                "resume": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "On: what an earlier run found in the same film, with the same "
                        "pack and settings, is used, whole or up to where it was stopped. Off: all "
                        "of it is analysed anew.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 25.0,
                        "min": 0.01,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Of images: frames a second. A film says so itself.",
                    },
                ),
            },
            "optional": {
                "video": (
                    VIDEO,
                    {"tooltip": "From Load Video, Create Video or Trim Video; it is not loaded."},
                ),
                "images": (
                    "IMAGE",
                    {"tooltip": "Frames as a batch, where there is no film. Values 0..1."},
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, film: Any = _NO_FILM, **_inputs: Any) -> str:
        if not isinstance(film, str) or film == _NO_FILM:
            return ""
        try:
            state = input_file(film).stat()
        except (InvalidInput, OSError):
            return "gone"
        return f"{state.st_size} {state.st_mtime_ns}"

    def analyze(
        self,
        faceanalysis: FaceAnalysis,
        film: str = _NO_FILM,
        every_nth: int = 1,
        frames: int = 0,
        start_seconds: float = 0.0,
        end_seconds: float = 0.0,
        accuracy: str = EXACT,
        write: str = _NOT_WRITTEN,
        filename_prefix: str = "fastface/faces",
        resume: bool = True,
        fps: float = 25.0,
        video: Any = None,
        images: Tensor | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        # Here, so that ComfyUI's start does not wait for what analyses films.
        from ..pipeline.film.analysis import analyze_film

        file, written = None, ""
        if write != _NOT_WRITTEN:
            file, written = output_file(filename_prefix, f".{write}")
        trimmed = _trimmed_film(film, video, images, fps)
        found = analyze_film(
            faceanalysis,
            trimmed.frames,
            _selection(trimmed, every_nth, frames, start_seconds, end_seconds),
            accuracy,
            resume,
            reporter(node_id),
            partial(host.show_now, node_id),
        )
        if file is not None:
            write_table(file, found.tracks, write)
        report = "\n".join(_report(trimmed.frames, found, written))
        return with_text(report, found.tracks, found.tracks.faces, report, len(found.tracks.frames))


def _seconds(tooltip: str) -> tuple[str, dict[str, Any]]:
    limits = {"default": 0.0, "min": 0.0, "max": _LONGEST_SECONDS, "step": 0.01}
    return "FLOAT", {**limits, "tooltip": tooltip}


def _trimmed_film(film: str, video: Any, images: Tensor | None, fps: float) -> TrimmedFilm:
    """The one film that was given.

    Raises:
        InvalidInput: There is none, or more than one.
    """
    given = {"film": film != _NO_FILM, "video": video is not None, "images": images is not None}
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


def _selection(
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


def _report(frames: Frames, found: FilmAnalysis, written: str) -> Iterator[str]:
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


NODES = {"FastFaceVideo": FastFaceVideo}
