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
    """Bounded in number too, and counts what had to go."""

    def __init__(self, bounds: Bounds, timer: Callable[[], float], size_of: Callable) -> None:
        super().__init__(bounds.bytes, bounds.seconds, timer, size_of)
        self.bounds = bounds
        self.evictions = 0

    def popitem(self) -> Any:
        self.evictions += 1
        return super().popitem()

    def keep(self, key: Hashable, value: Any) -> None:
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
    ) -> None:
        """
        Args:
            name: Names it in reports.
            bounds: Asked once, when the cache is first used.
            size_of: Bytes of a result; what it may grow to is counted from the beginning.
            timer: Seconds, ever rising.
        """
        self.name = name
        self._bounds = bounds
        self._size_of = size_of
        self._timer = timer
        self._kept: _Entries | None = None
        self._flights: dict[Hashable, _Flight] = {}
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0

    def get_or_make(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result of a key; `make` is called, outside of all locks, when there is none.

        Of several threads that ask for a key at once, one calls its `make` and the others wait. If
        it raises, whatever it raises is its own: the others go on as if they had come later.
        """
        while True:
            with self._lock:
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
            if self._kept is not None:
                self._evictions += self._kept.evictions
                self._kept = None

    def status(self) -> CacheStatus:
        with self._lock:
            entries = self._entries()
            entries.expire()
            evictions = self._evictions + entries.evictions
            return CacheStatus(
                len(entries), int(entries.currsize), self._hits, self._misses, evictions
            )
