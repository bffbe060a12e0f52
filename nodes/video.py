"""`FastFaceVideo`: the faces of a film, however long it is, and who they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils import host
from ..utils.errors import InvalidInput
from ..utils.host.io_folders import input_file, input_films, output_file
from .node_progress import reporter
from .sockets import CATEGORY, FACE_ANALYSIS, FACE_ANALYSIS_TOOLTIP, FACES, TRACKS, VIDEO
from .texts import with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_NO_FILM = "(from video or images)"
_NOT_WRITTEN = "none"
_LONGEST_SECONDS = 1e6


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
        from ..pipeline.film import ACCURACIES, TABLE_FORMATS

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
                    [_NOT_WRITTEN, *TABLE_FORMATS],
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
        accuracy: str = "exact",
        write: str = _NOT_WRITTEN,
        filename_prefix: str = "fastface/faces",
        resume: bool = True,
        fps: float = 25.0,
        video: Any = None,
        images: Tensor | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..pipeline.film.film_analysis import analyze_film
        from ..pipeline.film.tables import write_table
        from .films.run import given_film, report_lines, wanted_frames

        file, written = None, ""
        if write != _NOT_WRITTEN:
            file, written = output_file(filename_prefix, f".{write}")
        given = given_film("" if film == _NO_FILM else film, video, images, fps)
        found = analyze_film(
            faceanalysis,
            given.frames,
            wanted_frames(given, every_nth, frames, start_seconds, end_seconds),
            accuracy,
            resume,
            reporter(node_id),
            partial(host.show_now, node_id),
        )
        if file is not None:
            write_table(file, found.tracks, write)
        report = "\n".join(report_lines(given.frames, found, written))
        return with_text(report, found.tracks, found.tracks.faces, report, len(found.tracks.frames))


def _seconds(tooltip: str) -> tuple[str, dict[str, Any]]:
    limits = {"default": 0.0, "min": 0.0, "max": _LONGEST_SECONDS, "step": 0.01}
    return "FLOAT", {**limits, "tooltip": tooltip}


NODES = {"FastFaceVideo": FastFaceVideo}
