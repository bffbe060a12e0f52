"""`ServerWait`: a thread waits for a server, so that whoever asked can leave at any moment."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, TypeVar

from ..shutdown import start_thread

Result = TypeVar("Result")

#: How often whoever waits is asked whether it still does, in seconds.
_ASK_SECONDS = 0.1


class ServerWait:
    """Runs calls that may block for as long as a server is silent, in one thread, one by one.

    Leaving it in the middle of a call leaves that to the thread, which closes what came of it: a
    system's connect and read can't be ended from outside on every platform.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        """
        Args:
            on_wait: Called ten times a second while a call lasts; what it raises ends the waiting.
        """
        self.on_wait = on_wait
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._thread = start_thread(self._work, "FastFace download", self._end)

    def __enter__(self) -> ServerWait:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def result_of(self, call: Callable[[], Result]) -> Result:
        """What a call gives; what it raises is raised here. Without a thread it blocks."""
        if self._thread is None:
            return call()
        self._calls.put(call)
        while True:
            try:
                result, error = self._answers.get(timeout=_ASK_SECONDS)
            except queue.Empty:
                self.on_wait()
                continue
            if error is not None:
                raise error
            return result

    def leave_to_thread(self, call: Callable[[], object]) -> None:
        """Has a call made when those before it are done, and waits for none."""
        if self._thread is None:
            call()
        else:
            self._calls.put(call)

    def _end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:  # noqa: BLE001  raised where the answer is awaited
                self._answers.put((None, error))
        while not self._answers.empty():  # nobody waited for it
            result, _ = self._answers.get()
            getattr(result, "close", lambda: None)()
