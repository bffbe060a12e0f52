"""How the session of a prepared graph is put together from those an engine opens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...utils.detectors import detector_families
from ...utils.errors import BackendUnavailable, ModelError
from ...utils.packs import ModelFile
from ...utils.packs.checksums import unreplaced
from ..interfaces import Session
from ..onnx_graphs.batched import BatchedGraph
from ..onnx_graphs.foreign import foreign_graph
from ..onnx_graphs.graph_cache import graph_cache
from ..onnx_graphs.split_graph import SplitGraph, split_graph_of
from ..residency.evictable_model import Movable
from .split_session import MovableSplitSession, SplitSession
from .unbatched_adapter import UnbatchedAdapter

_log = logging.getLogger("FastFace")

#: Opens one file in the engine, with what is to be said of it where it runs.
OpenGraph = Callable[[Path, str], Session]


def open_batched(
    model: ModelFile,
    prepare: Callable[[], BatchedGraph],
    open_graph: OpenGraph,
    any_size: bool = True,
    full_on_whole: bool = False,
) -> Session:
    """Opens a graph: a detector's in two halves, one that takes no batches image by image.

    A file of the graph cache that the engine refuses is made again, once; then the model's own file
    is opened. So an error is always about that.

    Args:
        model: The model.
        prepare: Gives its graph.
        open_graph: Opens one file in the engine.
        any_size: Whether inputs of ever new sizes are as good to it as those of one.
        full_on_whole: See `SplitSession`.

    Raises:
        ModelError: The engine can't run the model's own file.
        And what else `prepare` and `open_graph` raise.
    """
    family = detector_families().get(model.family or "")
    splits = any_size and family is not None and family.has_black_margins
    return _Opening(model, prepare, open_graph, splits, full_on_whole).session()


class _Refused(Exception):
    """The engine refuses a file that was made of the model's own."""

    def __init__(self, path: Path, error: ModelError) -> None:
        # What the engine said: our own words are about the file that users know.
        super().__init__(str(error.__cause__ or error))
        self.path = path


@dataclass(frozen=True)
class _Opening:
    model: ModelFile
    prepare: Callable[[], BatchedGraph]
    open_graph: OpenGraph
    splits: bool
    full_on_whole: bool

    def session(self) -> Session:
        return self._with_second_try(self._prepared)

    def _with_second_try(self, attempt: Callable[[], Session]) -> Session:
        try:
            return attempt()
        except _Refused as refused:
            reason = refused
        # Where the engine can't run the model's own file either, that is the error.
        self._as_released("")
        try:
            if graph_cache().reject(reason.path, reason):
                return attempt()
        except _Refused as refused:
            reason = refused
        note = (
            f"{self.model.path.name} runs as it was released, image by image: what was made of it "
            f"is refused ({' '.join(str(reason).split())})"
        )
        _log.warning("%s", note)
        return self._as_released(note)

    def _as_released(self, note: str) -> Session:
        return UnbatchedAdapter(self._open(self.model.path, note), self.model)

    def _prepared(self) -> Session:
        prepared = self.prepare()
        if not prepared.takes_batches:
            return UnbatchedAdapter(self._open(prepared.path, prepared.note), self.model)
        halves = _halves(self.model, prepared) if self.splits else None
        if halves is None:
            return self._open(prepared.path)
        front, back = self._open(halves.front), self._open(halves.back)
        kind = MovableSplitSession if isinstance(front, Movable) else SplitSession
        return kind(
            front,
            back,
            halves.split_point,
            self.model.black,
            # Later: the file that is there now may be gone by then.
            lambda: self._with_second_try(self._whole),
            self.full_on_whole,
        )

    def _whole(self) -> Session:
        prepared = self.prepare()
        session = self._open(prepared.path, prepared.note)
        return session if prepared.takes_batches else UnbatchedAdapter(session, self.model)

    def _open(self, path: Path, note: str = "") -> Session:
        # Each time: the whole graph of a split one is opened later, and may be the file itself.
        with unreplaced([self.model]):
            try:
                return self.open_graph(path, note)
            except ModelError as error:
                if path == self.model.path:
                    raise
                raise _Refused(path, error) from error


def _halves(model: ModelFile, prepared: BatchedGraph) -> SplitGraph | None:
    """The halves of a graph; None where it can't be read here, for the engine to judge it whole."""
    try:
        with foreign_graph(model.path, "split"):
            return split_graph_of(prepared.path, model)
    except (ModelError, BackendUnavailable) as error:
        _log.debug("%s is opened whole: %s", model.path.name, error)
        return None
