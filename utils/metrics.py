"""What is counted while the pack runs: calls, images, faces, times by stage.

`stage` marks the stages of a run for this and for whoever listens. Counts are of this process
since it began. Counting costs about a microsecond a stage and never
waits for a device.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

#: Quantiles are those of so many last times: what it is like now, not what it was last week.
REMEMBERED = 1000
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Latency:
    """How long one kind of work took.

    Attributes:
        count: How often it was done since the process began.
        seconds: All of that together.
        quantiles: Seconds by quantile, of the last `REMEMBERED` times; empty without any.
    """

    count: int
    seconds: float
    quantiles: dict[float, float]

    @property
    def mean(self) -> float:
        """Seconds."""
        return self.seconds / self.count if self.count else 0.0


class Clock:
    """Adds up the times of one kind of work, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._seconds = 0.0
        self._last: deque[float] = deque(maxlen=REMEMBERED)

    def note(self, seconds: float) -> None:
        with self._lock:
            self._count += 1
            self._seconds += seconds
            self._last.append(seconds)

    def latency(self) -> Latency:
        with self._lock:
            count, seconds, last = self._count, self._seconds, sorted(self._last)
        # The nearest rank: a time that was measured, never one between two.
        ranks = {quantile: math.ceil(quantile * len(last)) - 1 for quantile in QUANTILES}
        quantiles = {quantile: last[rank] for quantile, rank in ranks.items()} if last else {}
        return Latency(count, seconds, quantiles)


class Timing:
    """One piece of work under a `Clock`; work that fails took time too."""

    __slots__ = ("_began", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_error: object) -> None:
        self._clock.note(time.perf_counter() - self._began)


class Call:
    """What came of one call of the pack; filled in by whoever answers it."""

    images = 0
    faces = 0


class Metrics:
    """All counts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, Clock] = {}
        self._calls: dict[str, Clock] = {}
        self._counts: Counter[str] = Counter()

    def stage(self, name: str) -> Timing:
        """Times one stage of a run. On a GPU that is the time to queue its work."""
        return Timing(self._clock(self._stages, name))

    @contextmanager
    def call(self, name: str) -> Iterator[Call]:
        """Times one call and counts what came of it; one that raises counts as failed."""
        call = Call()
        failed = 1
        try:
            with Timing(self._clock(self._calls, name)):
                yield call
            failed = 0
        finally:
            with self._lock:
                self._counts["images"] += call.images
                self._counts["faces"] += call.faces
                self._counts["failed"] += failed

    def stages(self) -> dict[str, Latency]:
        return _latencies(self._stages)

    def calls(self) -> dict[str, Latency]:
        return _latencies(self._calls)

    def count(self, name: str) -> int:
        """`images` given, `faces` given back, calls that `failed`."""
        with self._lock:
            return self._counts[name]

    @staticmethod
    def _clock(clocks: dict[str, Clock], name: str) -> Clock:
        clock = clocks.get(name)
        # In one step, so that of two threads that come first both get the same.
        return clocks.setdefault(name, Clock()) if clock is None else clock


def _latencies(clocks: dict[str, Clock]) -> dict[str, Latency]:
    latencies = {name: clock.latency() for name, clock in sorted(clocks.copy().items())}
    # What is being done for the first time has no time yet.
    return {name: latency for name, latency in latencies.items() if latency.count}


METRICS = Metrics()

#: Called with a stage's name; what it gives back is entered and left around the stage.
Listener = Callable[[str], AbstractContextManager[None]]

_listener: ContextVar[Listener | None] = ContextVar("stage_listener", default=None)


def stage(name: str) -> AbstractContextManager[None]:
    """Encloses one stage of a run, such as `letterbox`; stages may lie inside one another.

    Use it as `with stage("letterbox"):`. It synchronises nothing.
    """
    listener = _listener.get()
    return METRICS.stage(name) if listener is None else _listened(listener, name)


@contextmanager
def _listened(listener: Listener, name: str) -> Iterator[None]:
    with METRICS.stage(name), listener(name):
        yield


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hands every stage that this thread runs inside it to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
