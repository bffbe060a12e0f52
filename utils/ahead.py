"""Iterating in threads of its own, a bounded number of items ahead of whoever takes them."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .shutdown import at_work, start_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How often a thread that waits looks whether it is wanted still, in seconds.
_LOOK_SECONDS = 0.1


class _Ended:
    """The last thing in a queue: the items are all, or an error ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Ahead:
    """A thread that puts the items of an iterator into a queue."""

    def __init__(self, items: Iterator[Any], most: int) -> None:
        self.queue: queue.Queue[Any] = queue.Queue(most)
        self.items = items
        self.is_wanted = True

    def stop(self) -> None:
        self.is_wanted = False

    def work(self) -> None:
        try:
            while self.is_wanted:
                with at_work():
                    item = next(self.items, self)
                if item is self:
                    break
                self._put(item)
            self._put(_Ended())
        except BaseException as error:  # noqa: BLE001  raised where the items are taken
            self._put(_Ended(error))
        finally:
            getattr(self.items, "close", lambda: None)()

    def _put(self, item: Any) -> None:
        while self.is_wanted:
            try:
                self.queue.put(item, timeout=_LOOK_SECONDS)
                return
            except queue.Full:
                continue

    def taken(self) -> Iterator[Any]:
        while True:
            item = self.queue.get()
            if isinstance(item, _Ended):
                if item.error is not None:
                    raise item.error
                return
            yield item


@contextmanager
def ahead(items: Iterator[Item], name: str, most: int = 1) -> Iterator[Iterator[Item]]:
    """Lets a thread make items while others are worked on.

    Args:
        items: Made in that thread alone, one after another; a generator is closed at the end.
        name: Of the thread.
        most: Items that wait; one more is being made.

    Yields:
        The same items; an error of the thread is raised in its place. Where the system has no room
        for a thread, they are made when they are taken.
    """
    worker = _Ahead(items, most)
    thread = start_thread(worker.work, name, worker.stop)
    if thread is None:
        yield items
        return
    try:
        yield worker.taken()
    finally:
        worker.stop()
        thread.join()


class _Mapped:
    """Threads that work on the items of an iterator; results are taken in the items' order."""

    def __init__(
        self,
        work: Callable[[Any], Any],
        items: Iterator[Any],
        cost_of: Callable[[Any], int],
        most: int,
    ) -> None:
        self.work = work
        self.items = items
        self.cost_of = cost_of
        self.most = most
        self.is_wanted = True
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._results: dict[int, tuple[Any, int]] = {}
        self._cost = 0
        self._begun = 0
        self._has_ended = False

    def stop(self) -> None:
        with self._changed:
            self.is_wanted = False
            self._changed.notify_all()

    def run(self) -> None:
        """What each of the threads does."""
        while True:
            # Items are taken, and room for their results is waited for, in their order: whoever
            # takes the results waits for the first, which nobody behind it may keep out.
            with self._taking:
                taken = self._next()
            if taken is None:
                return
            place, item, cost = taken
            result = item
            if not isinstance(item, _Ended):
                try:
                    with at_work():
                        result = self.work(item)
                except BaseException as error:  # noqa: BLE001  raised where the results are taken
                    result = _Ended(error)
            with self._changed:
                self._results[place] = (result, cost)
                self._changed.notify_all()
            # Nothing of it is held while the next one is waited for.
            del taken, item, result

    def _next(self) -> tuple[int, Any, int] | None:
        if self._has_ended or not self.is_wanted:
            return None
        try:
            with at_work():
                item = next(self.items, self)
                cost = 0 if item is self else self.cost_of(item)
        except BaseException as error:  # noqa: BLE001  raised where the results are taken
            item, cost = _Ended(error), 0
        if item is self:
            item = _Ended()
        self._has_ended = isinstance(item, _Ended)
        with self._changed:
            self._changed.wait_for(
                lambda: not self.is_wanted or not self._cost or self._cost + cost <= self.most
            )
            if not self.is_wanted:
                return None
            self._cost += cost
            self._begun += 1
            return self._begun - 1, item, cost

    def taken(self) -> Iterator[Any]:
        for place in itertools.count():
            with self._changed:
                self._changed.wait_for(lambda place=place: place in self._results)
                result, cost = self._results.pop(place)
                self._cost -= cost
                self._changed.notify_all()
            if isinstance(result, _Ended):
                if result.error is not None:
                    raise result.error
                return
            yield result
            del result


@contextmanager
def mapped_ahead(
    work: Callable[[Item], Result],
    items: Iterator[Item],
    cost_of: Callable[[Item], int],
    name: str,
    threads: int,
    most: int,
) -> Iterator[Iterator[Result]]:
    """Lets threads work on items while others use the results, which keep the items' order.

    Args:
        work: Called in one of the threads.
        items: Made by the threads, one after another; a generator is closed at the end.
        cost_of: More than 0: what an item and its result take until the result is taken.
        name: Of the threads.
        threads: How many.
        most: Cost of all items that are worked on or wait, but for one that is alone.

    Yields:
        The results; an error of a thread is raised in its place. Where the system has no room for
        threads, they are made when they are taken.
    """
    mapped = _Mapped(work, items, cost_of, most)
    started = [start_thread(mapped.run, f"{name} {n}", mapped.stop) for n in range(threads)]
    running = [thread for thread in started if thread is not None]
    try:
        yield mapped.taken() if running else map(work, items)
    finally:
        mapped.stop()
        for thread in running:
            thread.join()
        getattr(items, "close", lambda: None)()
