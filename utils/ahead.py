"""Iterating in a thread of its own, a bounded number of items ahead of whoever takes them."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .shutdown import at_work, start_thread

Item = TypeVar("Item")

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
