"""Marks the stages of a run: their times are always counted, and given to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from .metrics import METRICS

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
