"""How far a piece of work is: said by whoever works, heard by whoever waits, who may end it.

Loops deep inside the pack say between two steps how far they are, or only that they may be left
here. Whoever listens gets that as a share of its whole work, and what it raises, such as ComfyUI's
interruption, ends the work. Where nobody listens it costs a tenth of a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

_STOPPABLE_EVERY = 256

#: Called with the share of the work that is done, 0..1, never falling; may raise to end the work.
Listener = Callable[[float], None]

#: Called with work done, in units that the caller counts in, and work in all.
Progress = Callable[[float, int], None]


class _Work:
    """A piece of work that somebody listens to."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.done = 0.0
        self.raised: BaseException | None = None

    def tell(self, done: float) -> None:
        self.done = min(max(self.done, done), 1.0)
        try:
            self.listener(self.done)
        except BaseException as error:
            self.raised = error
            raise


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Hands what is said inside, by this thread, to a listener; None hears nothing."""
    token = _work.set(None if listener is None else _Work(listener))
    try:
        yield
    finally:
        _work.reset(token)


@contextmanager
def part(start: float, stop: float) -> Iterator[None]:
    """What is done inside is a part of the enclosing work: 0..1 there is `start..stop` outside."""
    outer = _work.get()
    if outer is None:
        yield
        return
    tell = outer.tell
    with heard_by(lambda done: tell(start + (stop - start) * done)):
        yield
    tell(stop)


def advance(done: float) -> None:
    """Says that this share of the innermost piece of work is done, 0..1."""
    work = _work.get()
    if work is not None:
        work.tell(done)


def may_stop() -> None:
    """Marks a place where the work may be left; says nothing new."""
    work = _work.get()
    if work is not None:
        work.tell(work.done)


def stoppable(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the work may be left every few hundred of them."""
    for place, item in enumerate(items):
        if place % _STOPPABLE_EVERY == 0:
            may_stop()
        yield item


def is_heard() -> bool:
    """Whether somebody listens to this thread's work."""
    return _work.get() is not None


def raised_by_listener(error: BaseException) -> bool:
    """Whether an error is no failure of this thread's work, but a listener's way to end it."""
    work = _work.get()
    return work is not None and work.raised is error


def checkpoint() -> Callable[[], None] | None:
    """`may_stop` of this thread's work for another thread to call; None where nobody listens."""
    work = _work.get()
    return None if work is None else lambda: work.tell(work.done)
