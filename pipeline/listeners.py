"""Who hears how far a call is, and may end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from ..utils import host
from ..utils.progress import Progress, heard_by, is_heard


@contextmanager
def listened_to(on_progress: Progress | None, total: int) -> Iterator[None]:
    """Hands what is done inside to a callback, in units of which there are so many in all.

    Without a callback it is left to whoever listens already; where nobody does, a node of another
    pack may be waiting in ComfyUI, which then can be stopped.
    """
    listener = None
    if on_progress is not None:
        listener = _counted(on_progress, total)
    elif not is_heard() and (check := host.node_interruption()) is not None:
        listener = partial(_check_only, check)
    with nullcontext() if listener is None else heard_by(listener):
        yield


def _counted(on_progress: Progress, total: int) -> Callable[[float], None]:
    """Calls back with what is done of a total whenever that has grown."""
    known = -1.0

    def listener(share: float) -> None:
        nonlocal known
        done = round(share * total, 3)
        if done > known:
            known = done
            on_progress(done, total)

    return listener


def _check_only(check: Callable[[], None], share: float) -> None:
    check()
