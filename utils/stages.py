"""Marks the stages of a run for whoever listens; costs next to nothing when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

#: Called with a stage's name; what it gives back is entered and left around the stage.
Listener = Callable[[str], AbstractContextManager[None]]

_listener: ContextVar[Listener | None] = ContextVar("stage_listener", default=None)
_NOBODY = nullcontext()


def stage(name: str) -> AbstractContextManager[None]:
    """Encloses one stage of a run, such as `letterbox`; stages may lie inside one another.

    Use it as `with stage("letterbox"):`. It synchronises nothing.
    """
    listener = _listener.get()
    return _NOBODY if listener is None else listener(name)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hands every stage that this thread runs inside it to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
