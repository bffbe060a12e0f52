"""`MarginSession`: a detector's network that skips black margins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from cachetools import LRUCache
from torch import Tensor
from torch.nn.functional import pad

from ...utils.errors import ModelError
from ...utils.letterbox import Canvas
from ..interfaces import GraphSession, Session
from ..onnx_graphs.margin_points import MarginPlan, MarginPoint, plan_of
from ..onnx_graphs.margin_rewrite import refills
from ..placement import RunsOn
from ..residency.evictable_model import Movable

_log = logging.getLogger("FastFace")

#: Sizes of canvases whose empty features are kept: InstantID tries five, one below the other. And
#: how many shapes of pictures and sizes of batches these are laid out for.
_EMPTY_CANVASES, _LAID_OUT = 6, 3
#: Shapes of pictures whose plans are kept: each run asks twice, and working one out takes 40 us.
_PLANS = 256

#: Opens the graph for margins along an axis of `[B,C,H,W]`, 2 or 3.
OpenAlong = Callable[[int], GraphSession]


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


class MarginSession:
    """Sessions of one network, on one device; safe to run from several threads.

    That for margins below, which most pictures have, is there from the beginning; the others are
    opened when they are first wanted.
    """

    def __init__(
        self,
        below: GraphSession,
        points: tuple[MarginPoint, ...],
        black: float,
        open_along: OpenAlong,
        open_empty: Callable[[], Session],
        open_whole: Callable[[], Session],
    ) -> None:
        """
        Args:
            below: Of the graph for margins below.
            points: At which it is given an empty canvas's features.
            black: A black pixel in the network's input.
            open_along: Opens that for margins along an axis.
            open_empty: Opens that which gives the features at the points.
            open_whole: Opens the whole graph.
        """
        self._below = below
        self._points = points
        self._black = black
        self._open_along = open_along
        self._open_empty = open_empty
        self._open_whole = open_whole
        self._opened: dict[str, Session] = {}
        self._unusable: set[int] = set()
        self.device = below.device
        self._planned = lru_cache(_PLANS)(partial(_plan_anew, points))
        self._empty: LRUCache[tuple[int, int], tuple[Tensor, ...]] = LRUCache(_EMPTY_CANVASES)
        self._refills: LRUCache[Any, tuple[Tensor, ...]] = LRUCache(_LAID_OUT)
        # Another thread may open one while this one waits for what that needs.
        self._lock = threading.RLock()

    @property
    def runs_on(self) -> RunsOn:
        """What the graph for margins below runs on."""
        return self._below.runs_on

    @property
    def whole(self) -> Session:
        """A session of the whole graph, which is opened when it is first wanted."""
        return self._once("whole", self._open_whole)

    @property
    def raw(self) -> Any:
        """The engine's own object for the whole graph."""
        return getattr(self.whole, "raw", self.whole)

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        """See `CanvasSession.input_hw`."""
        plan = self._plan_of(canvas)
        if plan is None:
            return canvas.size_hw
        height, width = canvas.size_hw
        return (plan.pixels, width) if plan.axis == 2 else (height, plan.pixels)

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        """See `CanvasSession.run`."""
        if canvas is None or tuple(x.shape[-2:]) == canvas.size_hw:
            return self._run_whole(x)
        plan = self._plan_of(canvas)
        if plan is not None:
            try:
                session = self._along(plan.axis)
                given = self._refills_for(plan, canvas.size_hw, x)
            except ModelError as error:
                self._unusable.add(plan.axis)
                _log.warning("black margins are run too from now on: %s", error)
            else:
                where = session.device
                return session.run(x.to(where), *(each.to(where) for each in given))
        # The part was asked for before that was known.
        height, width = canvas.size_hw
        margins = (0, width - x.shape[3], 0, height - x.shape[2])
        return self._run_whole(pad(x, margins, value=self._black))

    def _plan_of(self, canvas: Canvas) -> MarginPlan | None:
        plan = self._planned(canvas.filled_hw, canvas.size_hw)
        return None if plan is None or plan.axis in self._unusable else plan

    def _run_whole(self, x: Tensor) -> tuple[Tensor, ...]:
        # Wherever it is: a provider may fail for one of several graphs alone.
        whole = self.whole
        return whole.run(x.to(whole.device))

    def _along(self, axis: int) -> GraphSession:
        if axis == 2:
            return self._below
        return self._once("right", lambda: self._open_along(axis))

    def _once(self, name: str, open_it: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._opened:
                self._opened[name] = open_it()
            return self._opened[name]

    def _refills_for(
        self, plan: MarginPlan, size_hw: tuple[int, int], x: Tensor
    ) -> tuple[Tensor, ...]:
        key = plan, size_hw, len(x)
        with self._lock:
            given = self._refills.get(key)
        if given is None:
            given = refills(plan, self._features_of_empty(size_hw, x), len(x))
            with self._lock:
                self._refills[key] = given
        return given

    def _features_of_empty(self, size_hw: tuple[int, int], like: Tensor) -> tuple[Tensor, ...]:
        """What the network makes of an empty canvas at each point, `[1,C,H,W]`."""
        with self._lock:
            empty = self._empty.get(size_hw)
        if empty is None:
            session = self._once("empty", self._open_empty)
            image = like.new_full((1, like.shape[1], *size_hw), self._black)
            empty = session.run(image.to(session.device))
            with self._lock:
                self._empty[size_hw] = empty
        return empty

    def _let_go(self) -> None:
        """Drops what can be had again."""
        with self._lock:
            self._empty.clear()
            self._refills.clear()
            self._opened.clear()


class MovableMarginSession(MarginSession):
    """One whose weights can wait in main memory; see `Movable`."""

    def leave_device(self) -> None:
        self._let_go()
        if isinstance(self._below, Movable):
            self._below.leave_device()

    def return_to_device(self) -> None:
        if isinstance(self._below, Movable):
            self._below.return_to_device()


def _plan_anew(
    points: tuple[MarginPoint, ...], filled_hw: tuple[int, int], size_hw: tuple[int, int]
) -> MarginPlan | None:
    return plan_of(points, Canvas(filled_hw, filled_hw, size_hw))
