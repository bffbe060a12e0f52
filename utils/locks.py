"""Locks on files that the system drops when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_log = logging.getLogger("FastFace")

POLL_SECONDS = 0.25


def try_lock(handle: int) -> bool | None:
    """Locks an open file, until it is closed, against every other that is opened anywhere.

    Args:
        handle: Of a file; on Linux and macOS also of a folder.

    Returns:
        Whether it is locked now; None where the file system has no locks.
    """
    try:
        _lock(handle)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        _log.debug("no locks on this file system: %s", error)
        return None
    return True


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keeps other threads and processes from what is done under the same lock file.

    The file is removed at the end: one that is there and can be locked was left by a killed
    process. Where the file system has no locks, nobody is kept.

    Args:
        path: The lock file; its folder exists.
        on_wait: Called a few times a second while somebody else holds the lock; what it raises ends
            the waiting.

    Raises:
        OSError: The file can't be made.
    """
    while (handle := _taken(path)) is None:
        on_wait()
        time.sleep(POLL_SECONDS)
    with _released(path, handle):
        yield


@contextlib.contextmanager
def left_locked(path: Path) -> Iterator[bool]:
    """As `locked`, for a lock file that a killed process left.

    Yields:
        Whether there is such a file; False too when somebody holds the lock.
    """
    try:
        handle = _taken(path, make=0) if path.exists() else None
    except OSError:  # gone meanwhile, or not ours to open
        handle = None
    if handle is None:
        yield False
    else:
        with _released(path, handle):
            yield True


def _taken(path: Path, make: int = os.O_CREAT) -> int | None:
    """The handle of a lock file that is locked now; None when somebody else holds it."""
    handle = os.open(path, os.O_RDWR | make, 0o666)
    try:
        # Whoever held it last may have removed it after it was opened here: the next to come would
        # lock another file of that name.
        if try_lock(handle) is not False and _is_at(path, handle):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _released(path: Path, handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        # Windows removes no open files, and none that another waits for.
        if os.name == "nt":
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)
