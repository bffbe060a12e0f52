"""`Cache`: results bounded in number, bytes and age, each worked out once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import TTLCache

Value = TypeVar("Value")

#: What an entry costs besides its value: its key, and what Python keeps of both.
ENTRY_BYTES = 512


@dataclass(frozen=True)
class Bounds:
    """How much a cache keeps.

    Attributes:
        entries: Most results; 0 keeps none.
        bytes: Most bytes of all results together; a result that is larger by itself is not kept.
        seconds: Longest time that a result is kept after it was worked out.
    """

    entries: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class CacheStatus:
    """What a cache holds, and what it did since the process began.

    Attributes:
        hits: Answers from what was kept, or from what another thread was just working out.
        misses: Answers that had to be worked out.
        evictions: Results that went because others came; those that grew too old are not counted.
    """

    entries: int
    bytes: int
    hits: int
    misses: int
    evictions: int


class _Entries(TTLCache):
    """Bounded in number too; counts what had to go, and remembers it until it is fetched."""

    def __init__(self, bounds: Bounds, timer: Callable[[], float], size_of: Callable) -> None:
        super().__init__(bounds.bytes, bounds.seconds, timer, size_of)
        self.bounds = bounds
        self.evictions = 0
        self.left: list[Any] = []

    def popitem(self) -> Any:
        key, value = super().popitem()
        self.evictions += 1
        self.left.append(value)
        return key, value

    def expire(self, time: Any = None) -> Any:
        gone = super().expire(time)
        self.left += [value for _, value in gone]
        return gone

    def keep(self, key: Hashable, value: Any) -> None:
        """Keeps a result, if the bounds let it, and puts out what they don't let stay with it."""
        if self.bounds.entries == 0 or self.getsizeof(value) > self.bounds.bytes:
            return
        while key not in self and len(self) >= self.bounds.entries:
            with suppress(KeyError):  # the last ones may grow too old just now
                self.popitem()
        self[key] = value


class _Flight:
    """A result that one thread is working out, and others wait for."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.results: list[Any] = []


class Cache(Generic[Value]):
    """Results by key, shared by all threads; those who ask at the same time get one result.

    Who asks owns nothing: what is to be changed must be copied first.
    """

    def __init__(
        self,
        name: str,
        bounds: Callable[[], Bounds],
        size_of: Callable[[Value], int],
        timer: Callable[[], float] = time.monotonic,
        on_leave: Callable[[Value], None] | None = None,
    ) -> None:
        """
        Args:
            name: Names it in reports.
            bounds: Asked when the cache is first used, and after it was cleared.
            size_of: Bytes of a result; what it may grow to is counted from the beginning.
            timer: Seconds, ever rising.
            on_leave: Called, outside of all locks, with results that are kept no longer.
        """
        self.name = name
        self._bounds = bounds
        self._size_of = size_of
        self._timer = timer
        self._on_leave = on_leave
        self._kept: _Entries | None = None
        self._flights: dict[Hashable, _Flight] = {}
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0
        self._used = timer()

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result of a key; `make` is called, outside of all locks, when there is none.

        Of several threads that ask for a key at once, one calls its `make` and the others wait. If
        it raises, whatever it raises is its own: the others go on as if they had come later.
        """
        while True:
            with self._lock:
                self._used = self._timer()
                entries = self._entries()
                try:
                    # In one step: between two, an entry's time may run out.
                    value = entries[key]
                    self._hits += 1
                    return value
                except KeyError:
                    flight = self._flights.get(key)
                if flight is None:
                    self._misses += 1
                    flight = self._flights[key] = _Flight()
                    break
            flight.ended.wait()
            if flight.results:
                with self._lock:
                    self._hits += 1
                return flight.results[0]
        try:
            flight.results.append(make())
        finally:
            self._land(key, flight)
        return flight.results[0]

    def _land(self, key: Hashable, flight: _Flight) -> None:
        with self._lock:
            if self._flights.get(key) is flight:  # else the cache was cleared meanwhile
                del self._flights[key]
                if flight.results:
                    self._entries().keep(key, flight.results[0])
        flight.ended.set()
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        with self._lock:
            gone, self._entries().left = self._entries().left, []
        if self._on_leave is not None:
            for value in gone:
                self._on_leave(value)

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries()

    @property
    def idle_seconds(self) -> float:
        """Since somebody last asked for a result."""
        return self._timer() - self._used

    def _entries(self) -> _Entries:
        if self._kept is None:
            self._kept = _Entries(
                self._bounds(), self._timer, lambda value: ENTRY_BYTES + self._size_of(value)
            )
        return self._kept

    def clear(self) -> None:
        """Forgets all results; what is being worked out now is not kept either."""
        with self._lock:
            self._flights.clear()
            kept = self._entries()
            # Made anew, so that the bounds are asked for again.
            self._kept, self._evictions = None, self._evictions + kept.evictions
            with suppress(KeyError):
                while True:
                    kept.popitem()
            self._entries().left = kept.left
        self._say_goodbye()

    def status(self) -> CacheStatus:
        with self._lock:
            entries = self._entries()
            entries.expire()
            evictions = self._evictions + entries.evictions
            status = CacheStatus(
                len(entries), int(entries.currsize), self._hits, self._misses, evictions
            )
        self._say_goodbye()
        return status
