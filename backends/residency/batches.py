"""Batches of work: models may be wanted no longer than until the last image of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...utils.settings import settings_or_defaults
from . import model_registry

_lock = threading.Lock()
_under_way = 0


@contextmanager
def batch_of_work() -> Iterator[None]:
    """Encloses the work on a batch; batches may lie inside and beside one another.

    With `keep_loaded` set to `batch`, every model is released when the last of them ends.
    """
    global _under_way
    with _lock:
        _under_way += 1
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            last = _under_way == 0
        if last and settings_or_defaults().keep_loaded == "batch":
            model_registry.drop(model_registry.models(), idle_seconds=0)
