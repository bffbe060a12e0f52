"""`SplitSession`: a detector's network in two halves, of which the front skips black margins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cachetools import LRUCache
from torch import Tensor

from ...utils.letterbox import Canvas
from ..interfaces import Session
from ..onnx_graphs.split_point import SplitPoint
from ..placement import RunsOn
from ..residency.evictable_model import Movable

#: Sizes of canvases whose empty features are kept: InstantID tries five, one below the other.
_EMPTY_CANVASES = 6


class WholeCanvases:
    """A session that runs on whole inputs alone, as a `CanvasSession`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.device = session.device

    @property
    def runs_on(self) -> RunsOn:
        return self.session.runs_on

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        """See `CanvasSession.input_hw`."""
        return canvas.size_hw

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        """See `CanvasSession.run`."""
        return self.session.run(x)


class SplitSession:
    """Two sessions that follow each other, on one device; safe to run from several threads."""

    def __init__(
        self,
        front: Session,
        back: Session,
        split_point: SplitPoint,
        black: float,
        open_whole: Callable[[], Session],
        full_on_whole: bool = False,
    ) -> None:
        """
        Args:
            front, back: The halves.
            split_point: Where they were cut.
            black: A black pixel in the front's input.
            open_whole: Opens the whole graph, when it is first wanted.
            full_on_whole: Whether canvases without margins worth the name run on that: where
                handing the features over takes longer than the memory for it is worth.
        """
        self._front, self._back = front, back
        self._split_point = split_point
        self._black = black
        self._open_whole = open_whole
        self._full_on_whole = full_on_whole
        self._whole: Session | None = None
        self.device = front.device
        self._empty: LRUCache[tuple[int, int], Tensor] = LRUCache(_EMPTY_CANVASES)
        self._lock = threading.Lock()

    @property
    def runs_on(self) -> RunsOn:
        """What the half with the smaller share on its device says, with the notes of both."""
        both = [half.runs_on for half in self.halves]
        notes = dict.fromkeys(half.note for half in both if half.note)
        # Of equal ones that which is not what was asked for.
        less = min(
            both, key=lambda half: (1.0 if half.share is None else half.share, not half.note)
        )
        return replace(less, note="; ".join(notes))

    @property
    def halves(self) -> tuple[Session, Session]:
        """The front and the back."""
        return self._front, self._back

    @property
    def whole(self) -> Session:
        """A session of the whole graph, which is opened when it is first wanted."""
        with self._lock:
            if self._whole is None:
                self._whole = self._open_whole()
            return self._whole

    @property
    def raw(self) -> Any:
        """The engine's own object for the whole graph."""
        return getattr(self.whole, "raw", self.whole)

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        """See `CanvasSession.input_hw`."""
        return self._split_point.part_hw(canvas)

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        """See `CanvasSession.run`."""
        is_full = canvas is None or x.shape[-2:] == canvas.size_hw
        if is_full and canvas is not None and self._full_on_whole:
            return _run(self.whole, x)
        (features,) = self._front.run(x)
        if canvas is not None and not is_full:
            empty = self._features_of_empty(canvas.size_hw, x)
            features = self._split_point.completed(features, empty, canvas)
        return _run(self._back, features)

    def _features_of_empty(self, size_hw: tuple[int, int], like: Tensor) -> Tensor:
        """What the front makes of an empty canvas, `[1,C,H,W]`."""
        with self._lock:
            empty = self._empty.get(size_hw)
        if empty is None:
            (empty,) = self._front.run(like.new_full((1, like.shape[1], *size_hw), self._black))
            with self._lock:
                self._empty[size_hw] = empty
        return empty

    def _let_go(self) -> None:
        """Drops what can be had again."""
        with self._lock:
            self._empty.clear()
            self._whole = None


def _run(session: Session, x: Tensor) -> tuple[Tensor, ...]:
    """Runs a session wherever it is: a provider may fail for one of several graphs alone."""
    return session.run(x.to(session.device))


class MovableSplitSession(SplitSession):
    """One whose halves' weights can wait in main memory; see `Movable`."""

    def leave_device(self) -> None:
        self._let_go()
        for half in self._movables():
            half.leave_device()

    def return_to_device(self) -> None:
        for half in self._movables():
            half.return_to_device()

    def _movables(self) -> list[Movable]:
        return [half for half in self.halves if isinstance(half, Movable)]
