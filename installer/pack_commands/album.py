"""`python install.py album PATH...`: finds and names the faces in folders of pictures and films."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...pipeline.album.album import Album, AlbumOptions, AlbumProgress, Listener
from ...pipeline.album.album_analysis import analyze_album
from ...pipeline.album.album_results import THRESHOLD, AlbumResults, chosen_format, write_results
from ...pipeline.album.album_table import FORMATS
from ...pipeline.album.reading import OTHER_FILE, ReadingLimits
from ...pipeline.choices import AUTO
from ...pipeline.insightface_compat.facade import FaceAnalysis
from ...pipeline.loading import DETECTION_MODES, describe_loaded, load_face_analysis
from ...utils.errors import FastFaceError, InvalidInput
from ...utils.gallery.gallery_store import GalleryStore
from ...utils.gallery.places import gallery_store
from ...utils.text import one_line
from .comfyui import comfyui_around

_log = logging.getLogger("FastFace")
_OUTPUT = Path("album_output")
#: Files that were not analysed, as many as are printed; all are in the results.
_MOST_LISTED = 20
#: Pixels of the longer side above which `--fast` has JPEGs decoded smaller, for a detector of 640.
_ENOUGH_SIDE = 1280


def main(arguments: Sequence[str]) -> int:
    """Analyses an album.

    Returns:
        0, with files left out too; 1 when it could not be done.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # It says which of its builds it looks for.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    try:
        return _run(options)
    except FastFaceError as error:
        _log.error("%s", error)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python install.py album",
        description=__doc__,
        epilog="The results: faces.parquet or faces.jsonl, people.html (who was found), album.json "
        "(counts, and what was left out and why), and parts/, by which a later run goes on where "
        "this one ended.",
    )
    limits = ReadingLimits()
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folders and files")
    parser.add_argument("--output", type=Path, default=_OUTPUT, help="folder for the results")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help=f"by default {FORMATS[0]} where pyarrow is installed, else {FORMATS[1]}",
    )
    parser.add_argument("--gallery", help="names known people: a gallery's name or folder")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="lowest similarity to a known person"
    )
    parser.add_argument("--pack", default=AUTO, help="model pack (default: the best installed)")
    parser.add_argument("--backend", default=AUTO)
    parser.add_argument("--device", default=AUTO)
    parser.add_argument("--precision", default=AUTO)
    parser.add_argument("--detection", choices=DETECTION_MODES, default=DETECTION_MODES[0])
    parser.add_argument("--det-size", type=int)
    parser.add_argument("--det-threshold", type=float, default=0.0)
    parser.add_argument(
        "--film-every",
        type=float,
        default=AlbumOptions().film_seconds,
        metavar="SECONDS",
        help="looks at a frame of films every so many seconds; 0 leaves films out (default: 1)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help=f"decodes JPEGs at 1/2, 1/4 or 1/8 where {_ENOUGH_SIDE} pixels are left: faces of "
        "less than about 20 pixels in the large picture may be missed",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=limits.most_pixels / 1e6,
        help="larger pictures are left out, or decoded smaller if they are JPEGs; decoding takes "
        "up to 8 bytes a pixel (default: %(default)g)",
    )
    parser.add_argument("--threads", type=int, default=limits.threads, help="that decode; 0: auto")
    parser.add_argument("--follow-links", action="store_true", help="else links are left out")
    parser.add_argument("--fresh", action="store_true", help="uses nothing of an earlier run")
    return parser


def _run(options: argparse.Namespace) -> int:
    from PIL import Image

    # The limit is the one above, and says what to do.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    # What can't be used is said before hours of work, not behind them.
    kind = chosen_format(options.format)
    face_analysis = _loaded(options)
    gallery = None
    if options.gallery is not None:
        gallery = _gallery(options.gallery)
        gallery.read().require_space(face_analysis.analyzer.embedding_space)
    limits = ReadingLimits(
        int(options.max_megapixels * 1e6),
        _ENOUGH_SIDE if options.fast else None,
        options.follow_links,
        options.threads,
    )
    chosen = AlbumOptions(options.film_every, limits, resume=not options.fresh)
    _log.info("%s", describe_loaded(face_analysis))
    with _bar() as show:
        album = analyze_album(face_analysis, options.paths, options.output, chosen, show)
    results = write_results(album, face_analysis, options.output, kind, gallery, options.threshold)
    _report(album, results)
    return 0


def _loaded(options: argparse.Namespace) -> FaceAnalysis:
    comfyui = comfyui_around()
    return load_face_analysis(
        model_pack=options.pack,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        detection=options.detection,
        det_size=options.det_size,
        det_threshold=options.det_threshold,
        extra_roots=(comfyui / "models" / "insightface",) if comfyui else (),
    )


def _gallery(name: str) -> GalleryStore:
    """The gallery of a name, in ComfyUI's models or those of the working folder, or of a folder."""
    comfyui = comfyui_around()
    places = [Path(name)]
    if comfyui:
        places.insert(0, comfyui / "models" / "fastface" / "galleries" / name)
    for store in map(GalleryStore, places):
        if store.exists():
            return store
    store = gallery_store(name)
    if not store.exists():
        raise InvalidInput(
            f"got the gallery {name!r}, which is neither in ComfyUI's models/fastface/galleries "
            "nor the folder of one; FastFace Gallery Add makes them"
        )
    return store


def _report(album: Album, results: AlbumResults) -> None:
    """Says in a few lines what came of it."""
    progress = album.progress
    _log.info(
        "%d files: %d of earlier runs, %d pictures and frames analysed in %.1f s (%.1f a second); "
        "%d faces in all, of %d people",
        progress.files,
        progress.kept,
        progress.images,
        progress.seconds,
        progress.images_per_second,
        album.faces,
        len(results.people.people),
    )
    others = sum(why == OTHER_FILE for _, why in results.left_out)
    if others:
        _log.info("%d files are neither pictures nor films", others)
    told = [(path, why) for path, why in results.left_out if why != OTHER_FILE]
    if told:
        _log.info("%d could not be analysed:", len(told))
    for path, why in told[:_MOST_LISTED]:
        _log.info("  %s: %s", one_line(path), one_line(why))
    if len(told) > _MOST_LISTED:
        _log.info("  and %d more, see album.json", len(told) - _MOST_LISTED)
    for file in (results.table, results.page):
        _log.info("results: %s", one_line(str(file.resolve())))


@contextlib.contextmanager
def _bar() -> Iterator[Listener]:
    """A bar with images a second and the time left, where somebody sees it."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield _Lines().show
        return
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    with tqdm(total=0, unit="file", bar_format="{l_bar}{bar}| {postfix}") as bar:

        def show(progress: AlbumProgress) -> None:
            bar.total, bar.n = progress.files, round(progress.done, 2)
            bar.set_postfix_str(_status(progress), refresh=False)
            bar.update(0)
            bar.refresh()

        yield show


class _Lines:
    """A line every ten seconds."""

    def __init__(self) -> None:
        self._said = 0.0

    def show(self, progress: AlbumProgress) -> None:
        if progress.seconds - self._said >= 10:
            self._said = progress.seconds
            _log.info("%s", _status(progress))


def _status(progress: AlbumProgress) -> str:
    left = progress.seconds_left
    shown = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02d} left"
    return (
        f"{int(progress.done)} of {progress.files} files, "
        f"{progress.images_per_second:.3g} images/s{shown}, {progress.faces} faces, "
        f"{progress.problems} left out"
    )
