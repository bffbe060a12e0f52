"""`FileState`: what tells without reading a file whether it is still the one that was read."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from cachetools import LRUCache

from ..errors import ModelError

Value = TypeVar("Value")

#: Systems note times in steps of up to 10 ms: what is written twice within one looks unwritten.
_CLOCK_STEP_NS = 100_000_000


@dataclass(frozen=True)
class FileState:
    """A file and what the system says of it; whoever changes its content changes one of these.

    Attributes:
        path: The file.
        size: In bytes.
        mtime_ns: When it was last written to, as far as whoever wrote it did not set another time.
        ctime_ns: When the system last changed anything about it, which nobody can set; 0 on
            Windows, where it is the time of creation.
        device, inode: Which file it is, whatever it is called.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int

    @property
    def changed_ns(self) -> int:
        """When it was last changed, in nanoseconds since 1970."""
        return max(self.mtime_ns, self.ctime_ns)


def state_of(path: Path) -> FileState:
    """The state of a file now.

    Raises:
        ModelError: It is not there, or the rights to it are missing.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ModelError(f"there is no file {path}; download the pack it belongs to") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ModelError(
            f"{path} can't be read: {error}; check the rights to the file and the disk it is on"
        ) from error
    ctime_ns = 0 if os.name == "nt" else status.st_ctime_ns
    return FileState(
        path, status.st_size, status.st_mtime_ns, ctime_ns, status.st_dev, status.st_ino
    )


class ByState(Generic[Value]):
    """What was read of files, remembered until their state differs; shared by all threads."""

    def __init__(self, most: int) -> None:
        """`most`: how many are remembered."""
        self._known: LRUCache[FileState, Value] = LRUCache(most)
        self._lock = threading.Lock()

    def known(self, state: FileState) -> Value | None:
        """What is remembered of a file in this state."""
        with self._lock:
            return self._known.get(state)

    def get_or_read(self, state: FileState, read: Callable[[Path], Value]) -> Value:
        """What is remembered of a file in this state, or what `read` makes of it now.

        A file that was written just now is read again the next time: its state would be the same
        if somebody wrote to it once more.
        """
        value = self.known(state)
        if value is None:
            is_young = abs(time.time_ns() - state.changed_ns) < _CLOCK_STEP_NS
            value = read(state.path)
            if not is_young:
                with self._lock:
                    self._known[state] = value
        return value
