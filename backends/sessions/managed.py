"""`ManagedSession`: a session that can be sent away for its memory, and comes back when needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ...utils import host
from ..base import Session

_log = logging.getLogger("FastFace")


@runtime_checkable
class Movable(Protocol):
    """A session whose weights can wait in main memory, which is faster than opening it again."""

    def leave_device(self) -> None:
        """Moves the weights off the device."""
        ...

    def return_to_device(self) -> None:
        """Moves them back."""
        ...


class ManagedSession:
    """A session under the memory management of ComfyUI.

    Loading a large model pushes it out, "unload models" does so at once, and the next `run` brings
    it back. It never leaves under a running call. Outside ComfyUI it stays until `release`.
    """

    def __init__(self, name: str, open_session: Callable[[], Session], size_bytes: int) -> None:
        """
        Args:
            name: Names it in the log.
            open_session: Opens the session; called now, and again when it was released.
            size_bytes: Memory that the session is declared to take on its device.
        """
        self._name = name
        self._open = open_session
        session = open_session()
        self._session: Session | None = session
        self._away = False
        self._running = 0
        self._changed = threading.Condition()
        self.device = session.device
        self.runs_on = session.runs_on
        self._place = host.managed_memory(self, self.device, size_bytes)
        _log.info("%s: loaded, runs on %s", name, self.runs_on)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Session.run`; brings the session back first if it was away."""
        with self._in_use() as session:
            return session.run(x)

    @property
    def raw(self) -> Any:
        """The engine's own object."""
        with self._in_use() as session:
            return getattr(session, "raw", session)

    @property
    def is_loaded(self) -> bool:
        return self._session is not None and not self._away

    def load(self) -> None:
        """Brings the session to its device; called by the memory management."""
        with self._changed:
            if self.is_loaded:
                return
            if self._session is None:
                self._session = self._open()
            elif isinstance(self._session, Movable):
                self._session.return_to_device()
            self._away = False
            _log.info("%s: loaded again, runs on %s", self._name, self.runs_on)

    def release(self) -> None:
        """Gives the memory back, as soon as no call is running."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)
            if not self.is_loaded:
                return
            if isinstance(self._session, Movable):
                self._session.leave_device()
                self._away = True
            else:
                self._session = None
            _log.info("%s: released", self._name)

    @contextmanager
    def _in_use(self) -> Iterator[Session]:
        while True:
            # Asked for without the lock: making room may release other sessions, and theirs us.
            self._place.require()
            with self._changed:
                if self._session is not None and not self._away:
                    self._running += 1
                    session = self._session
                    break
        try:
            yield session
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
