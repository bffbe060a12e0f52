"""`analyze_film`: the faces of a film, however long, and who they are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends.residency.idle_evictor import batch_of_work
from ...utils.ahead import ahead
from ...utils.errors import InvalidInput
from ...utils.faces import Faces
from ...utils.free_memory import trim_heap
from ...utils.isolation import engine_call
from ...utils.packs import Task
from ...utils.progress import Progress, heard_by
from ...utils.tracks.linking import link
from ...utils.tracks.tracks import FilmSource, Tracks
from ...utils.video.frames import Frames
from ...utils.video.scenes import cuts
from ...utils.video.selection import Selection
from ..result_key import describing_tasks, result_key
from . import EXACT, FAST
from .chunks import Chunk, chunks_of, frames_at_once
from .full import EveryFrame
from .segments import SEGMENT_FRAMES, FilmStore, GrowingSegment, Segment, films_folder
from .sparse import KnownFaces, full_every
from .spilled import SpilledEmbeddings

if TYPE_CHECKING:
    from ..insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")

#: How often it is said how far a film is, in seconds: on the node, and in the log.
_SHOW_SECONDS = 1.0
_LOG_SECONDS = 15.0


@dataclass(frozen=True, eq=False)
class FilmAnalysis:
    """What was found in a film.

    Attributes:
        tracks: Faces of all analysed frames, and which of them are of one person; on the CPU.
        cuts: Analysed frames, counted from 0, that begin a new scene.
        wanted: How many frames were to be analysed; fewer are analysed where some are broken.
        broken: Numbers of frames that could not be decoded.
        kept: Frames whose results an earlier run had kept.
        seconds: What the rest took.
        full_every: Every so many frames were analysed in full; 1 is each.
    """

    tracks: Tracks
    cuts: tuple[int, ...]
    wanted: int
    broken: tuple[int, ...]
    kept: int
    seconds: float
    full_every: int


@engine_call()
def analyze_film(
    face_analysis: FaceAnalysis,
    frames: Frames,
    selection: Selection,
    accuracy: str = EXACT,
    resume: bool = True,
    on_progress: Progress | None = None,
    on_status: Callable[[str], None] | None = None,
) -> FilmAnalysis:
    """Finds the faces of a film, describes them where the pack can, and links them over time.

    What is in memory does not grow with the film, but for the faces themselves.

    Args:
        face_analysis: The models and settings to use.
        frames: The film.
        selection: Which of its frames are analysed.
        accuracy: `exact` analyses each as a single image; `fast` see `KnownFaces`.
        resume: Whether what an earlier run kept of this film, with these models and settings, is
            used. What is found is kept in any case.
        on_progress: Called with frames done, as a fraction too, and frames in all; what it raises
            passes through, and what was found so far is there for the next run.
        on_status: Called about every second with frames done, frames a second and time left, for
            people.

    Raises:
        InvalidInput: No frame is in that part of the film, or none can be decoded.
        OutOfMemory: Not even one frame fits into the memory that is left.
    """
    wanted = selection.numbers(frames.times)
    tasks = describing_tasks(face_analysis)
    every = 1
    if accuracy == FAST:
        every = full_every(frames.times[wanted])
    store = _store(face_analysis, frames, selection, every, tasks)
    run = _Run(frames, wanted, store, _Counter(on_progress, on_status, len(wanted)))
    with closing(run.embeddings):
        if store is not None and resume:
            for segment in store.read():
                run.add(segment)
        run.kept = run.done
        analyst = EveryFrame(face_analysis, tasks)
        if every > 1:
            analyst = KnownFaces(face_analysis, tasks, every)
        started = time.monotonic()
        with batch_of_work():
            run.finish(analyst)
        if store is not None:
            store.limit_size()
        # What the decoder and the engines left is handed back before all faces are made one.
        trim_heap()
        return run.result(frames, every, time.monotonic() - started)


def _store(
    face_analysis: FaceAnalysis,
    frames: Frames,
    selection: Selection,
    every: int,
    tasks: Sequence[Task],
) -> FilmStore | None:
    """Where the results are kept; None where what the film shows is not known."""
    content = frames.content
    if content is None:
        return None
    key: dict[str, Any] = {
        **result_key(face_analysis, tasks),
        "film": content,
        "times": [float(frames.times[0]), float(frames.times[-1]), len(frames.times)],
        "frames": [
            selection.every_nth,
            selection.frames,
            selection.start_seconds,
            selection.end_seconds,
        ],
        "full_every": every,
    }
    return FilmStore(films_folder(), key)


class _Counter:
    """How far a film is, for the node's bar, the node itself, and the log."""

    def __init__(
        self,
        on_progress: Progress | None,
        on_status: Callable[[str], None] | None,
        total: int,
    ) -> None:
        self._on_progress = on_progress
        self._on_status = on_status
        self._total = total
        self._before = 0
        self._started = self._shown = self._logged = time.monotonic()

    def begin(self, done: int) -> None:
        """Counts from here: what was kept took no time."""
        self._before = done
        self._started = self._shown = self._logged = time.monotonic()
        self.at(done)

    def at(self, done: float) -> None:
        """Says how many frames are done; what the listener raises passes through."""
        if self._on_progress is not None:
            self._on_progress(done, self._total)
        now = time.monotonic()
        if done <= self._before or now - self._shown < _SHOW_SECONDS:
            return
        self._shown = now
        rate = (done - self._before) / (now - self._started)
        left = int(max(0.0, self._total - done) / rate)
        status = (
            f"frame {int(done)} of {self._total}, {rate:.3g} frames/s, "
            f"{left // 60}:{left % 60:02d} left"
        )
        if self._on_status is not None:
            self._on_status(status)
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            _log.info(status)


class _Run:
    """A film on its way: what was kept, and what is being found."""

    def __init__(
        self, frames: Frames, wanted: np.ndarray, store: FilmStore | None, counter: _Counter
    ) -> None:
        self.frames = frames
        self.wanted = wanted
        self.store = store
        self.counter = counter
        self.segments: list[Segment] = []
        self.embeddings = SpilledEmbeddings()
        self.kept = 0

    @property
    def done(self) -> int:
        """Frames whose faces are known."""
        return sum(map(len, self.segments))

    def add(self, segment: Segment) -> None:
        """Adds what follows; its embeddings wait elsewhere for the end."""
        if len(segment):  # the last one of a film may have no frame
            segment = replace(segment, faces=self.embeddings.take(segment.faces))
        self.segments.append(segment)

    def finish(self, analyst: EveryFrame | KnownFaces) -> None:
        """Analyses what is left of the film."""
        self.counter.begin(self.done)
        if self.segments and self.segments[-1].is_last:
            return
        left = self.wanted
        if numbers := [segment.numbers for segment in self.segments if len(segment)]:
            left = left[left > numbers[-1][-1]]
        at_once = frames_at_once(self.frames, analyst.multiple)
        chunks = chunks_of(self.frames, left, at_once, analyst.with_next)
        growing = GrowingSegment(self.segments)
        with ahead(chunks, "FastFace film") as decoded:
            for chunk in decoded:
                self._take(analyst, chunk, growing)
                if len(growing) >= SEGMENT_FRAMES:
                    self._keep(growing, is_last=False)
        self._keep(growing, is_last=True)

    def _take(
        self, analyst: EveryFrame | KnownFaces, chunk: Chunk, growing: GrowingSegment
    ) -> None:
        before = self.done + len(growing)
        is_cut = growing.changed(chunk)
        with heard_by(lambda share: self.counter.at(before + share * len(chunk))):
            faces = analyst.faces_of(chunk, is_cut)
        growing.add(chunk, faces)
        chunk.release()
        self.counter.at(before + len(chunk))

    def _keep(self, growing: GrowingSegment, is_last: bool) -> None:
        segment = growing.segment(is_last)
        if self.store is not None:
            self.store.write(self.done, segment)
        self.add(segment)

    def result(self, frames: Frames, every: int, seconds: float) -> FilmAnalysis:
        """Everything that was found, as one.

        Raises:
            InvalidInput: No frame could be decoded.
        """
        found = [segment for segment in self.segments if len(segment)]
        if not found:
            raise InvalidInput(
                "none of the wanted frames of the film can be decoded; choose other frames, or "
                "copy the film anew"
            )
        numbers = np.concatenate([segment.numbers for segment in found])
        times = np.concatenate([segment.times for segment in found])
        scenes = cuts(np.concatenate([segment.changes for segment in found]))
        parts = [segment.faces for segment in found]
        faces = self.embeddings.give(Faces.cat(parts))
        # Of a long film these are some megabytes: they are not to be there twice.
        found.clear()
        self.segments.clear()
        parts.clear()
        tracks = link(
            faces,
            times.tolist(),
            numbers.tolist(),
            FilmSource(
                path=frames.path,
                size_hw=frames.size_hw,
                rotation=frames.rotation,
                average_rate=frames.average_rate,
                content=frames.content or "",
            ),
            cuts=scenes,
        )
        return FilmAnalysis(
            tracks=tracks,
            cuts=tuple(scenes),
            wanted=len(self.wanted),
            broken=tuple(np.setdiff1d(self.wanted, numbers).tolist()),
            kept=self.kept,
            seconds=seconds,
            full_every=every,
        )
