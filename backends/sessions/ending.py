"""Ends runs of an engine from outside: a network that takes seconds gives nobody a word.

An engine that can be told to stop its run is told so by a thread that asks, while such runs go on,
whether whoever waits for them still wants them. Where the system has no room for that thread, they
run to their end. At the end of the process it asks once more, and whoever asks for the process's
end there, as ComfyUI's listeners do, ends them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ...utils.progress import checkpoint
from ...utils.shutdown import is_ending, start_thread

Result = TypeVar("Result")

#: How often whoever waits is asked, and how long the thread waits for another run.
_ASK_SECONDS = 0.1
_IDLE_SECONDS = 10.0


class _Run:
    """A run that may be ended, and what whoever waits for it raised."""

    def __init__(self, ask: Callable[[], None], end: Callable[[], None]) -> None:
        self._ask = ask
        self._end = end
        self._over = False
        self._lock = threading.Lock()
        self.raised: BaseException | None = None

    def ask(self) -> None:
        with self._lock:
            if self._over or self.raised is not None:
                return
            try:
                self._ask()
            except BaseException as error:  # noqa: BLE001  raised again in the thread that runs
                self.raised = error
                self._end()

    def finish(self) -> None:
        """After this nothing is asked and nothing ended: the engine may be at another run."""
        with self._lock:
            self._over = True


class Endings:
    """Runs that may be ended, and the one thread that asks for all of them."""

    def __init__(self) -> None:
        self._runs: set[_Run] = set()
        self._thread: threading.Thread | None = None
        self._resting = False
        self._changed = threading.Condition()

    def run(self, run: Callable[[], Result], end: Callable[[], None]) -> Result:
        """Runs something that can be ended from another thread.

        Args:
            run: The work; it may raise whatever it likes once it was ended.
            end: Makes `run` return soon; called from another thread, at most once, and never when
                `run` has returned.

        Returns:
            What `run` gives.

        Raises:
            BaseException: What whoever listens to this thread's work raised; see `heard_by`.
        """
        ask = checkpoint()
        if ask is None:
            return run()
        entry = _Run(ask, end)
        self._add(entry)
        try:
            result = run()
        except Exception:
            if entry.raised is None:
                raise
            result = None
        finally:
            entry.finish()
            with self._changed:
                self._runs.discard(entry)
        if entry.raised is not None:
            raise entry.raised
        return result  # pyright: ignore[reportReturnType]

    def _add(self, entry: _Run) -> None:
        with self._changed:
            self._runs.add(entry)
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads
                self._thread = start_thread(self._watch, "FastFace endings", self._look_up)
            elif self._resting:  # else it looks soon, and short runs must not wake it each time
                self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if not self._runs and not is_ending():
                    self._resting = True
                    self._changed.wait(_IDLE_SECONDS)
                    self._resting = False
                if not self._runs:
                    self._thread = None
                    return
            time.sleep(_ASK_SECONDS)
            with self._changed:
                runs = list(self._runs)
            for entry in runs:
                entry.ask()

    def _look_up(self) -> None:
        with self._changed:
            self._changed.notify_all()


endings = Endings()
