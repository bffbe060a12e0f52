"""`ParallelSession`: images side by side on few threads each, or one run on all, as is faster.

One run on many cores leaves most of them waiting: layers of a small network are done before all
threads have begun. Several images at once, each on few threads, keep them at work. Which is faster
depends on the network, the engine and the processor, so both are timed on the first batches.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...utils.ahead import mapped_ahead
from ...utils.cores import lanes_of, usable_cores
from ...utils.memory import free_ram
from ...utils.settings import settings
from ..interfaces import Session
from ..placement import RunsOn

_log = logging.getLogger("FastFace")

#: Batches that each way is timed on, after one that prepares it.
_TIMED_BATCHES = 3
#: Side by side must be so much faster to be worth its memory.
_LEAST_GAIN = 1.05
#: Memory that must be left besides what it takes, in bytes.
_SPARE_BYTES = 2 * 10**9


class ParallelSession:
    """A session on the CPU with another one for many images at once; safe to run from threads."""

    def __init__(
        self,
        together: Session,
        open_lanes: Callable[[], Session],
        lanes: int,
        size_bytes: int,
        name: str,
    ) -> None:
        """
        Args:
            together: Runs a batch on all threads.
            open_lanes: Opens a session that `lanes` threads may run at once, each on its share of
                the threads; called when the first batch comes.
            lanes: How many, 2 or more.
            size_bytes: Memory that the second session takes.
            name: Of the graph, for the log.
        """
        self.together = together
        self.device = together.device
        self._open_lanes = open_lanes
        self._lanes = lanes
        self._size_bytes = size_bytes
        self._name = name
        self._side_by_side: Session | None = None
        #: Seconds an image of each way; None once it is decided.
        self._seconds: dict[bool, list[float]] | None = {False: [], True: []}
        self._lock = threading.Lock()
        self._in_use = threading.Lock()

    @property
    def runs_on(self) -> RunsOn:
        return self.together.runs_on

    @property
    def raw(self) -> Any:
        """The engine's own object for one run on all threads."""
        return getattr(self.together, "raw", self.together)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Session.run`."""
        if len(x) < self._lanes:
            return self.together.run(x)
        # While another thread times a batch, the cores are not this one's alone.
        if self._seconds is not None and self._lock.acquire(blocking=False):
            try:
                if self._seconds is not None:
                    return self._timed(x, self._seconds)
            finally:
                self._lock.release()
        session = self._side_by_side
        return self.together.run(x) if session is None else self._in_lanes(session, x)

    def _timed(self, x: Tensor, seconds: dict[bool, list[float]]) -> tuple[Tensor, ...]:
        """Runs a batch in the way that was timed less often, and decides when both were enough."""
        as_lanes = len(seconds[True]) < len(seconds[False])
        if as_lanes and self._side_by_side is None:
            if free_ram() < self._size_bytes + _SPARE_BYTES:
                self._seconds = None
                return self.together.run(x)
            self._side_by_side = self._open_lanes()
        session = self._side_by_side if as_lanes else None
        began = time.perf_counter()
        results = self.together.run(x) if session is None else self._in_lanes(session, x)
        seconds[as_lanes].append((time.perf_counter() - began) / len(x))
        if min(map(len, seconds.values())) > _TIMED_BATCHES:
            self._decide(seconds)
        return results

    def _decide(self, seconds: dict[bool, list[float]]) -> None:
        # The first of each prepares: memory is taken, kernels are chosen.
        together, lanes = (statistics.median(seconds[way][1:]) for way in (False, True))
        self._seconds = None
        gain = together / max(lanes, 1e-9)
        if gain < _LEAST_GAIN:
            self._side_by_side = None
        _log.info(
            "%s: batches run %s, which is %.2f times as fast as the other way (%d lanes)",
            self._name,
            "as one" if self._side_by_side is None else "side by side",
            max(gain, 1 / gain),
            self._lanes,
        )

    def _in_lanes(self, session: Session, x: Tensor) -> tuple[Tensor, ...]:
        """One batch at a time: a run that is ended may spoil the others of its engine."""

        def run(part: Tensor) -> tuple[Tensor, ...]:
            # Whoever listens to this thread's work may end it in all lanes.
            return copies.pop().run(session.run, part)

        parts = x.tensor_split(self._lanes)
        copies = [copy_context() for _ in parts]
        with (
            self._in_use,
            mapped_ahead(
                run, iter(parts), lambda part: 1, "FastFace lane", self._lanes, self._lanes
            ) as results,
        ):
            each = list(results)
        return tuple(torch.cat(outputs) for outputs in zip(*each, strict=True))


def side_by_side(session: Session, open_lanes: Callable[[int], Session], graph: Path) -> Session:
    """A session that also runs images side by side, where there are cores for that.

    Args:
        session: Runs a batch on all threads of the CPU.
        open_lanes: Opens one that so many threads may run at once.
        graph: The file that was opened.
    """
    threads = settings().threads or usable_cores()
    lanes = lanes_of(threads)
    if lanes < 2:
        return session
    size_bytes = graph.stat().st_size
    return ParallelSession(session, partial(open_lanes, lanes), lanes, size_bytes, graph.name)
