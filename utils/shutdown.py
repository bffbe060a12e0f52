"""The end of the process: threads of the pack end before it does, and running work is waited for.

While the interpreter is taken down, Python (before 3.14) ends every daemon thread that comes back
to it with `pthread_exit`. That unwinds the C++ frames below, of which torch, ONNX Runtime, OpenVINO
and OpenCV have many that let nothing through: the process aborts ("terminate called without an
active exception"). So nothing of this pack may be inside an engine by then, in whatever thread.
"""

from __future__ import annotations

import atexit

# Imported for its place in the order: what registers later is called earlier at the end, and this
# pack's work must be told to stop before `concurrent.futures` waits for its threads.
import concurrent.futures.thread  # noqa: F401
import contextlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from .errors import ProcessEnding

_log = logging.getLogger("FastFace")

#: How long the end of the process waits. A run of a network takes less; opening one rarely takes
#: half as long.
LONGEST_WAIT_SECONDS = 30.0

_changed = threading.Condition()
_ending = False
#: Threads started here, and what makes each look up.
_threads: dict[threading.Thread, Callable[[], None]] = {}
#: By thread, how many pieces of work lie inside one another there.
_at_work: Counter[threading.Thread] = Counter()
#: Names of threads of which the log has said that they could not be started.
_unstarted: set[str] = set()


def is_ending() -> bool:
    """Whether the process is ending: nothing is begun any more."""
    return _ending


def start_thread(
    work: Callable[[], None], name: str, wake: Callable[[], None] = lambda: None
) -> threading.Thread | None:
    """Starts a thread that the end of the process waits for.

    Args:
        work: What it does; ends soon once `is_ending`, which every `at_work` inside it sees to.
        name: Names it in lists of threads and in the log.
        wake: Called at the end of the process, so that it doesn't sleep on.

    Returns:
        The thread; None where the system has no room for one more, or the process is ending. The
        log says so.
    """
    # Daemons, because Python waits for all others, and without a bound.
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _changed:
        if _ending:
            return None
        for ended in [each for each in _threads if each.ident and not each.is_alive()]:
            del _threads[ended]
        _threads[thread] = wake
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        with _changed:
            _threads.pop(thread, None)
            is_news = name not in _unstarted
            _unstarted.add(name)
        if is_news:
            _log.warning(
                "the thread %r can't be started (%s): the system allows this process no more, or "
                "has no memory for it; all else goes on, and it is tried again with the next call",
                name,
                error,
            )
        return None
    _unstarted.discard(name)
    return thread


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Encloses work that may be inside an engine; pieces of work may lie inside one another.

    The end of the process waits until it is left. Nobody enters it from then on. Work that lies
    inside other work gets an error, which ends that too and lets go of whatever is held. A thread
    that Python would cut off anyway, such as ComfyUI's for workflows, has nobody to give an error
    to: outside of all work it waits to be cut off.

    Raises:
        ProcessEnding: The process is ending.
    """
    thread = threading.current_thread()
    is_counted = _enter(thread)
    try:
        yield
    except ProcessEnding:
        if is_counted and _leave(thread):
            _wait_for_the_end(thread)
        is_counted = False
        raise
    finally:
        if is_counted:
            _leave(thread)


def _enter(thread: threading.Thread) -> bool:
    """Whether it is counted."""
    with _changed:
        if not _ending:
            _at_work[thread] += 1
            return True
        if thread is threading.main_thread():
            return False  # which is what takes the interpreter down, and may do this before
        is_inside = thread in _at_work
    if not is_inside:
        _wait_for_the_end(thread)
    raise ProcessEnding("the process is ending: nothing is loaded or analysed any more")


def _leave(thread: threading.Thread) -> bool:
    """Whether that was the outermost piece of its work."""
    with _changed:
        _at_work[thread] -= 1
        if _at_work[thread] > 0:
            return False
        del _at_work[thread]
        _changed.notify_all()
        return True


def _wait_for_the_end(thread: threading.Thread) -> None:
    """Does not return in a thread that Python cuts off, but of those that were started here."""
    if thread.daemon and thread not in _threads:
        threading.Event().wait()


def _end() -> None:
    """Stops what runs, and waits for it as long as may be."""
    global _ending
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    with _changed:
        _ending = True
        _at_work.pop(threading.main_thread(), None)
        threads = dict(_threads)
    for wake in threads.values():
        wake()
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, end - time.monotonic()))
    with _changed:
        _changed.wait_for(lambda: not _at_work, max(0.0, end - time.monotonic()))
        late = {*_at_work, *(thread for thread in threads if thread.is_alive())}
    if late:
        names = ", ".join(sorted(thread.name for thread in late))
        _log.warning("the process ends though %s did not within %g s", names, LONGEST_WAIT_SECONDS)


def _forget() -> None:
    """In a process that was forked there are no other threads, and locks are as they were."""
    global _changed, _ending
    _changed = threading.Condition()
    _ending = False
    _threads.clear()
    _at_work.clear()


# Before `atexit`, whose functions are called when Python's own threads have ended: engines take
# themselves down there, those that were imported later than this before it.
getattr(threading, "_register_atexit", atexit.register)(_end)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
