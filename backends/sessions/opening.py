"""How the session of a prepared graph is put together from those an engine opens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...utils.errors import BackendUnavailable, ModelError
from ...utils.packs import ModelFile
from ..graphs.halves import Halves, halves_of
from ..graphs.prepared import PreparedGraph
from ..interfaces import Session
from ..memory.managed import Movable
from .divided import DividedSession, MovableDividedSession
from .one_by_one import OneByOne

_log = logging.getLogger("FastFace")


def open_prepared(
    model: ModelFile,
    prepared: PreparedGraph,
    open_graph: Callable[[Path], Session],
    any_size: bool = True,
    full_on_whole: bool = False,
) -> Session:
    """Opens a graph: a detector's in two halves, one that takes no batches image by image.

    Args:
        model: The model.
        prepared: Its graph.
        open_graph: Opens one file in the engine.
        any_size: Whether inputs of ever new sizes are as good to it as those of one.
        full_on_whole: See `DividedSession`.
    """
    if not prepared.takes_batches:
        return OneByOne(open_graph(prepared.path), model)
    divides = any_size and model.task == "detection"
    halves = _halves(model, prepared) if divides else None
    if halves is None:
        return open_graph(prepared.path)
    front, back = open_graph(halves.front), open_graph(halves.back)
    kind = MovableDividedSession if isinstance(front, Movable) else DividedSession
    whole = partial(open_graph, prepared.path)
    return kind(front, back, halves.division, model.black, whole, full_on_whole)


def _halves(model: ModelFile, prepared: PreparedGraph) -> Halves | None:
    """The halves of a graph; None where it can't be read here, for the engine to judge it whole."""
    try:
        return halves_of(prepared.path, model)
    except (ModelError, BackendUnavailable) as error:
        _log.debug("%s is opened whole: %s", model.path.name, error)
        return None
