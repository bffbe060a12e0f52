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
from ..interfaces import GraphSession, Session
from ..onnx_graphs.batched import BatchedGraph
from ..onnx_graphs.foreign import foreign_graph
from ..onnx_graphs.graph_cache import graph_cache
from ..onnx_graphs.margin_graphs import MarginGraphs, margin_graphs_of
from ..residency.evictable_model import Movable
from .margin_session import MarginSession, MovableMarginSession
from .unbatched_adapter import UnbatchedAdapter

_log = logging.getLogger("FastFace")

#: Opens one file in the engine, with what is to be said of it where it runs.
OpenGraph = Callable[[Path, str], GraphSession]


def open_batched(
    model: ModelFile,
    prepare: Callable[[], BatchedGraph],
    open_graph: OpenGraph,
    any_size: bool = True,
) -> Session:
    """Opens a graph: a detector's so that it skips black margins, one for single images in turn.

    A file of the graph cache that the engine refuses is made again, once; then the model's own file
    is opened. So an error is always about that.

    Args:
        model: The model.
        prepare: Gives its graph.
        open_graph: Opens one file in the engine.
        any_size: Whether inputs of ever new sizes are as good to it as those of one.

    Raises:
        ModelError: The engine can't run the model's own file.
        And what else `prepare` and `open_graph` raise.
    """
    family = detector_families().get(model.family or "")
    skips_margins = any_size and family is not None and family.has_black_margins
    return _Opening(model, prepare, open_graph, skips_margins).session()


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
    skips_margins: bool

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
        graphs = _margin_graphs(self.model, prepared) if self.skips_margins else None
        if graphs is None:
            return self._open(prepared.path)
        below = self._open(graphs.along[2])
        kind = MovableMarginSession if isinstance(below, Movable) else MarginSession
        return kind(
            below,
            graphs.points,
            self.model.black,
            # Later: the files that are there now may be gone by then.
            lambda axis: self._made_of_margins(lambda later: later.along[axis]),
            lambda: self._made_of_margins(lambda later: later.empty),
            lambda: self._with_second_try(self._whole),
        )

    def _made_of_margins(self, path_of: Callable[[MarginGraphs], Path]) -> GraphSession:
        """Opens another one of the graphs that skip margins.

        Raises:
            ModelError: The engine refuses it, also when it was made again.
        """

        def attempt() -> GraphSession:
            graphs = _margin_graphs(self.model, self.prepare())
            if graphs is None:
                raise ModelError(f"{self.model.path.name} can't be made to skip black margins now")
            return self._open(path_of(graphs))

        try:
            try:
                return attempt()
            except _Refused as refused:
                if not graph_cache().reject(refused.path, refused):
                    raise
                return attempt()
        except _Refused as refused:
            raise ModelError(
                f"what was made of {self.model.path} is refused: {refused}"
            ) from refused

    def _whole(self) -> Session:
        prepared = self.prepare()
        session = self._open(prepared.path, prepared.note)
        return session if prepared.takes_batches else UnbatchedAdapter(session, self.model)

    def _open(self, path: Path, note: str = "") -> GraphSession:
        # Each time: some graphs are opened later, and the whole one may be the file itself.
        with unreplaced([self.model]):
            try:
                return self.open_graph(path, note)
            except ModelError as error:
                if path == self.model.path:
                    raise
                raise _Refused(path, error) from error


def _margin_graphs(model: ModelFile, prepared: BatchedGraph) -> MarginGraphs | None:
    """What skips margins; None where the graph can't be read, for the engine to judge it whole."""
    try:
        with foreign_graph(model.path, "taken apart"):
            return margin_graphs_of(prepared.path, model)
    except (ModelError, BackendUnavailable) as error:
        _log.debug("%s is opened whole: %s", model.path.name, error)
        return None
