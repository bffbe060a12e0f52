"""When models go: after a while without use, or with the last image of a batch of work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...utils import shutdown
from ...utils.errors import ProcessEnding
from ...utils.settings import settings_or_defaults
from . import model_registry

_log = logging.getLogger("FastFace")

#: The settings may change while the watch sleeps.
_LONGEST_SLEEP_SECONDS = 15.0
_SLEEP_AFTER_TROUBLE_SECONDS = 5.0


class IdleEvictor:
    """One thread that lives as long as models are loaded and the settings limit their stay.

    Trouble with one model is logged and costs no other; a thread that died, as all do in a process
    that was forked, is replaced with the next call of a model. Where no thread can be started,
    models stay.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._woken = threading.Event()

    @property
    def is_awake(self) -> bool:
        """Whether its thread is alive."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """Sees to it that the thread runs if it is needed; called when a model was used."""
        if self.is_awake or not settings_or_defaults().offload_timeout:
            return
        with self._lock:
            if not self.is_awake:
                self._woken.clear()
                self._thread = shutdown.start_thread(self._run, "FastFace idle", self.look_again)

    def look_again(self) -> None:
        """Makes the thread look at once, at settings that changed for example."""
        self._woken.set()

    def _run(self) -> None:
        while not shutdown.is_ending():
            try:
                sleep = self._release_idle()
            except ProcessEnding:
                return
            except Exception:  # noqa: BLE001  whatever one model raises, the others must go too
                _log.exception("idle models could not be released; trying again")
                sleep = _SLEEP_AFTER_TROUBLE_SECONDS
            if sleep is None and self._may_end():
                return
            self._woken.wait(sleep)
            self._woken.clear()

    def _release_idle(self) -> float | None:
        """Releases what is idle for long enough; seconds until the next may be, None without."""
        timeout = settings_or_defaults().offload_timeout
        if not timeout:
            return None
        model_registry.drop(model_registry.models(), timeout)
        stays = [timeout - model.idle_seconds for model in model_registry.loaded()]
        return max(0.01, min([*stays, _LONGEST_SLEEP_SECONDS])) if stays else None

    def _may_end(self) -> bool:
        with self._lock:
            if self._thread is not threading.current_thread():
                return True
            self._thread = None
        # A model that was loaded meanwhile has seen this thread alive, or starts another.
        if not settings_or_defaults().offload_timeout or not model_registry.loaded():
            return True
        with self._lock:
            if self._thread is not None:
                return True
            self._thread = threading.current_thread()
            return False


watch = IdleEvictor()

_batch_lock = threading.Lock()
_batches_under_way = 0


@contextmanager
def batch_of_work() -> Iterator[None]:
    """Encloses the work on a batch; batches may lie inside and beside one another.

    With `keep_loaded` set to `batch`, every model is released when the last of them ends.
    """
    global _batches_under_way
    with _batch_lock:
        _batches_under_way += 1
    try:
        yield
    finally:
        with _batch_lock:
            _batches_under_way -= 1
            last = _batches_under_way == 0
        if last and settings_or_defaults().keep_loaded == "batch":
            model_registry.drop(model_registry.models(), idle_seconds=0)
