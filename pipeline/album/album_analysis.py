"""`analyze_album`: the faces in all pictures and films of some folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...backends.residency.idle_evictor import batch_of_work
from ...utils.errors import BackendUnavailable, InvalidInput, OutOfMemory
from ...utils.faces import Faces
from ...utils.file_kinds import FileKind
from ...utils.files import file_errors
from ...utils.images import Images
from ...utils.isolation import engine_call
from ...utils.locks import locked
from ...utils.packs import Task
from ...utils.pictures import USE_OUTPUT, square_thumbnail
from ...utils.tracks.best import best_rows
from ...utils.tracks.tracks import NO_TRACK, Tracks
from ...utils.video.film import FilmFile
from ...utils.video.selection import Selection
from ..film.film_analysis import analyze_film
from ..insightface_compat.facade import FaceAnalysis
from ..result_key import describing_tasks, result_key
from .album import THUMBNAIL_PX, Album, AlbumOptions, AlbumProgress, Listener
from .album_store import AlbumStore
from .found_files import FoundFile, common_root, walk
from .reading import ReadFile, files_read_ahead, named_in_unicode
from .records import FileRecord

#: Pictures that are analysed together, and most bytes of their pixels: one may have more.
_AT_ONCE, _MOST_BYTES = 16, 128_000_000
#: Files, faces and seconds after which what was found is written down.
_PART_FILES, _PART_FACES, _PART_SECONDS = 512, 4096, 30.0


@engine_call()
def analyze_album(
    face_analysis: FaceAnalysis,
    paths: Sequence[Path],
    output: Path,
    options: AlbumOptions | None = None,
    on_progress: Listener | None = None,
) -> Album:
    """Finds and describes the faces in all pictures and films of some folders.

    What is found is kept in parts as the run goes; after a kill the next run with the same models
    and settings goes on there. Memory is bounded, but for the list of files.

    Args:
        face_analysis: The models and settings to use.
        paths: Folders, which are walked, and files.
        output: The folder of the results, `parts` in it of what is kept; it is not walked.
        options: What is looked at, and how.
        on_progress: See `Listener`.

    Raises:
        InvalidInput: A path is not there, or another run works in the output folder.
        FileError: What was found can't be written.
    """
    options = options or AlbumOptions()
    root = common_root(paths)
    analyst = AlbumAnalyst(face_analysis, root, options)
    if any(output.exists() and path.exists() and output.samefile(path) for path in paths):
        raise InvalidInput(
            f"got {str(output)!r} both to look at and for the results; choose a folder of its own "
            "for these with --output"
        )
    lock = output / "album.lock"
    with file_errors(lock, USE_OUTPUT):
        output.mkdir(parents=True, exist_ok=True)
        with locked(lock, _refuse_second), batch_of_work():
            store = AlbumStore(output / "parts", analyst.key)
            if options.resume:
                store.open()
            else:
                store.clear()
            found = walk(root, paths, options.limits.follow_links, left_out=output)
            run = _Run(analyst, sorted(found, key=lambda file: file.path), store, on_progress)
            return run.finished(root)


def _refuse_second() -> None:
    raise InvalidInput(
        "another run works in the output folder; wait for its end, or choose another one"
    )


class AlbumAnalyst:
    """Makes records of files, wherever they are kept then."""

    def __init__(
        self,
        face_analysis: FaceAnalysis,
        root: Path,
        options: AlbumOptions,
    ) -> None:
        self._face_analysis = face_analysis
        self._root = root
        self._options = options
        self._tasks: list[Task] = describing_tasks(face_analysis)

    @property
    def key(self) -> dict[str, object]:
        """What decides the results, as JSON can hold it."""
        limits = self._options.limits
        return {
            **result_key(self._face_analysis, self._tasks),
            "reading": [limits.most_pixels, limits.enough_side],
            "film_seconds": self._options.film_seconds,
        }

    @property
    def embedding_dim(self) -> int | None:
        """Length of the embeddings; None where there are none."""
        if not self._tasks:
            return None
        return self._face_analysis.analyzer.embedding_dim

    def records(
        self,
        files: Iterable[FoundFile],
        known: Callable[[str], FileRecord | None] = lambda content: None,
        on_film: Callable[[float], None] | None = None,
    ) -> Iterator[list[FileRecord]]:
        """Records of files in their order, a batch at a time.

        Args:
            files: Of the root's folder.
            known: Gives the record of a content that was analysed already.
            on_film: Called with the part of a film that is done, 0..1.
        """
        batch: list[ReadFile] = []
        with files_read_ahead(self._root, files, self._options.limits, known) as read:
            for one in read:
                if one.record.kind is FileKind.FILM and not one.record.problem:
                    yield from self._analyzed(batch)
                    batch = []
                    yield [self._film(one.record, on_film)]
                    continue
                batch.append(one)
                held = [each.pixels.nbytes for each in batch if each.pixels is not None]
                if len(held) >= _AT_ONCE or sum(held) >= _MOST_BYTES or len(batch) >= _PART_FILES:
                    yield from self._analyzed(batch)
                    batch = []
            yield from self._analyzed(batch)

    def _analyzed(self, batch: Sequence[ReadFile]) -> Iterator[list[FileRecord]]:
        if not batch:
            return
        decoded = [each for each in batch if each.pixels is not None]
        described = iter(self._pictures(decoded))
        yield [next(described) if one.pixels is not None else _known(one) for one in batch]

    def _pictures(self, batch: Sequence[ReadFile]) -> list[FileRecord]:
        """Records of pictures that were decoded."""
        if not batch:
            return []
        sources = [torch.from_numpy(one.pixels)[None] for one in batch if one.pixels is not None]
        try:
            faces = self._face_analysis.analyze(
                Images.from_comfy(sources), self._tasks, remember=False
            ).to("cpu")
        except OutOfMemory as error:
            if len(batch) > 1:
                return [record for one in batch for record in self._pictures([one])]
            return [replace(batch[0].record, problem=f"too little memory to analyse it: {error}")]
        return [_with_faces(one, faces.of_image(place)) for place, one in enumerate(batch)]

    def _film(self, record: FileRecord, on_film: Callable[[float], None] | None) -> FileRecord:
        if not self._options.film_seconds:
            return replace(record, problem="films are left out, as was asked for")
        path = self._root / record.path
        try:
            with named_in_unicode(path) as named:
                return self._film_of(record, FilmFile(named, path.name), on_film)
        except (InvalidInput, BackendUnavailable, OSError, MemoryError) as error:
            return replace(record, problem=f"the film can't be analysed: {error}")

    def _film_of(
        self, record: FileRecord, film: FilmFile, on_film: Callable[[float], None] | None
    ) -> FileRecord:
        nth = max(1, round(self._options.film_seconds * float(film.average_rate)))

        def progress(done: float, total: int) -> None:
            if on_film is not None:
                on_film(done / max(1, total))

        found = analyze_film(self._face_analysis, film, Selection(nth), on_progress=progress)
        tracks = found.tracks
        notes = (*film.notes, *(["some frames are broken"] if found.broken else []))
        return replace(
            record,
            content=film.content or "",
            faces=tracks.faces.to("cpu"),
            frames=tracks.frames,
            times=tracks.times,
            tracks=tuple(tracks.ids.tolist()),
            thumbnails=_of_film(tracks, film),
            notes=notes,
        )


def _known(one: ReadFile) -> FileRecord:
    """The record of a file that was not decoded."""
    if one.known is None:
        return one.record
    record = one.record
    return replace(one.known, path=record.path, size=record.size, mtime_ns=record.mtime_ns)


def _with_faces(one: ReadFile, faces: Faces) -> FileRecord:
    """The record of a picture whose faces are known, in pixels of what was decoded."""
    pixels = one.pixels
    if pixels is None:
        raise LookupError("there are no pixels")
    thumbnails = tuple(square_thumbnail(pixels, box, THUMBNAIL_PX) for box in faces.boxes.tolist())
    height, width = pixels.shape[:2]
    if (height, width) != one.size_hw:
        scale = torch.tensor([one.size_hw[1] / width, one.size_hw[0] / height])
        landmarks = faces.landmarks
        faces = replace(
            faces,
            boxes=faces.boxes * scale.repeat(2),
            landmarks=None if landmarks is None else landmarks * scale,
            image_sizes=(one.size_hw,),
        )
    return replace(one.record, faces=faces, thumbnails=thumbnails)


def _of_film(tracks: Tracks, film: FilmFile) -> tuple[bytes, ...]:
    """A thumbnail of the best face of each track, and none of the others."""
    thumbnails = [b""] * len(tracks.faces)
    ids = sorted({each for each in tracks.ids.tolist() if each != NO_TRACK})
    rows = best_rows(tracks, ids)
    images = tracks.faces.images_of_faces()
    by_frame: dict[int, list[int]] = {}
    for row in rows:
        by_frame.setdefault(tracks.frames[images[row]], []).append(row)
    for frame in film.read(np.array(sorted(by_frame), np.int64)):
        for row in by_frame[frame.number]:
            box = tracks.faces.boxes[row].tolist()
            thumbnails[row] = square_thumbnail(frame.pixels.numpy(), box, THUMBNAIL_PX)
    return tuple(thumbnails)


class _Run:
    """An album on its way: what is known of its files, and what is being found."""

    def __init__(
        self,
        analyst: AlbumAnalyst,
        files: Sequence[FoundFile],
        store: AlbumStore,
        on_progress: Listener | None,
    ) -> None:
        self._analyst = analyst
        self._files = files
        self._store = store
        self._on_progress = on_progress
        self._places = {file.path: place for file in files if (place := store.place_of(file))}
        kept = len(self._places)
        self._progress = AlbumProgress(len(files), float(kept), kept)
        self._growing: list[FileRecord] = []
        self._started = self._written = time.monotonic()

    def finished(self, root: Path) -> Album:
        """Analyses what is left, and gives all."""
        left = [file for file in self._files if file.path not in self._places]
        self._say(0.0)
        try:
            known = self._store.of_content
            for records in self._analyst.records(left, known, self._say):
                self._take(records)
        finally:
            # Whatever ends the run, what was found is there for the next one.
            self._write()
        self._say(0.0)
        places = tuple(self._places[file.path] for file in self._files)
        self._store.keep_only(places)
        return Album(root, tuple(self._files), self._progress, self._store, places)

    def _take(self, records: Sequence[FileRecord]) -> None:
        progress = self._progress
        self._growing += records
        for record in records:
            progress.done = round(progress.done) + 1
            progress.images += record.images
            progress.faces += len(record.faces)
            progress.problems += bool(record.problem)
        self._say(0.0)
        if (
            len(self._growing) >= _PART_FILES
            or sum(len(record.faces) for record in self._growing) >= _PART_FACES
            or time.monotonic() - self._written >= _PART_SECONDS
        ):
            self._write()

    def _say(self, of_film: float) -> None:
        progress = self._progress
        progress.seconds = time.monotonic() - self._started
        if self._on_progress is not None:
            self._on_progress(replace(progress, done=progress.done + of_film))

    def _write(self) -> None:
        records, self._growing = self._growing, []
        if records:
            for record, place in zip(records, self._store.add(records), strict=True):
                self._places[record.path] = place
        self._written = time.monotonic()
