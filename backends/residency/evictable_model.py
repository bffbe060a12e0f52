"""`EvictableModel`: what can leave memory and come back, and goes on when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch

from ...utils.errors import OutOfMemory
from ...utils.free_memory import is_out_of_memory, trim_heap
from ...utils.host import patcher
from ...utils.shutdown import at_work
from ..placement import Placement, RunsOn
from .admission import make_room
from .idle_evictor import watch
from .model_registry import LoadedModel, ModelName, count_fallback, remember

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


class OpenedModel(Protocol):
    """What can be managed."""

    device: torch.device

    @property
    def runs_on(self) -> RunsOn: ...


Kind = TypeVar("Kind", bound=OpenedModel)


@runtime_checkable
class HoldsNetworks(Protocol):
    """A detector or head whose networks can leave memory and come back."""

    @property
    def networks(self) -> tuple[EvictableModel[Any], ...]:
        """What it runs; may be shared with others."""
        ...


def managed_among(*sessions: object) -> tuple[EvictableModel[Any], ...]:
    """Those of some sessions that are under management."""
    return tuple(session for session in sessions if isinstance(session, EvictableModel))


class EvictableModel(Generic[Kind]):
    """Something in memory that leaves when it is idle, unloaded, or pushed out by ComfyUI.

    The next use brings it back. It never leaves under a running call.
    """

    def __init__(
        self,
        name: ModelName,
        open_at: Callable[[Placement], Kind],
        placement: Placement,
        size_bytes: int,
        slower: Placement | None = None,
        opening_factor: float = 2.0,
    ) -> None:
        """
        Args:
            name: Names it in the log and in lists.
            open_at: Opens it; called now, and again when it was released.
            placement: Where it is to run.
            size_bytes: Memory that it is declared to take on its device.
            slower: Where it runs when it can't run there; None where that is an error.
            opening_factor: See `make_room`.

        Raises:
            OutOfMemory: There is no room for it.
        """
        self.name = name
        self._open_at = open_at
        self._placement = placement
        self._slower = slower if slower != placement else None
        self._size_bytes = size_bytes
        self._opening_factor = opening_factor
        self._trouble = ""
        self._away = False
        self._running = 0
        self._leaving = 0
        self._used = time.monotonic()
        self._changed = threading.Condition()
        self._find_room()
        opened = self._open()
        #: Where it goes back to after troubles: a device without room for it is not tried again.
        self._wanted = self._placement
        self._opened: Kind | None = opened
        self.device = opened.device
        self._runs_on = opened.runs_on
        self._place = patcher.managed_memory(self, self.device, size_bytes)
        remember(self)
        watch.wake()

    @property
    def runs_on(self) -> RunsOn:
        """What it runs on now, or ran on when it was last in memory."""
        notes = "; ".join(note for note in (self._trouble, self._runs_on.note) if note)
        return replace(self._runs_on, note=notes)

    @property
    def is_loaded(self) -> bool:
        return self._opened is not None and not self._away

    @property
    def is_open(self) -> bool:
        """Whether its weights are in memory, if not on its device: nothing is read to go on."""
        return self._opened is not None

    def status(self) -> LoadedModel | None:
        """See `Model.status`."""
        opened = self._opened
        if opened is None:
            return None
        return LoadedModel(
            pack=self.name.pack,
            task=self.name.task,
            backend=self.name.backend,
            device="cpu" if self._away else str(opened.device),
            runs_on=self.runs_on,
            size_bytes=self._size_bytes,
            idle_seconds=self._idle_seconds(),
        )

    @contextmanager
    def in_use(self) -> Iterator[Kind]:
        """What was opened, back in memory if it was away; it stays while this is open.

        Not to be opened again inside.

        Raises:
            OutOfMemory: There is no room for it.
            ProcessEnding: The process is ending.
        """
        with at_work(), self._held() as opened:
            yield opened

    @contextmanager
    def _held(self) -> Iterator[Kind]:
        while True:
            # Both asked for without the lock: making room may release others, and theirs us.
            if self._opened is None:
                self._find_room()
            self._place.require()
            with self._changed:
                self._changed.wait_for(lambda: not self._leaving)
                if self._opened is not None and not self._away:
                    self._running += 1
                    opened = self._opened
                    break
        try:
            yield opened
        finally:
            with self._changed:
                self._running -= 1
                self._used = time.monotonic()
                self._changed.notify_all()
            watch.wake()

    def bring_back(self) -> None:
        """Sees to it that it is in memory, on its device, as a call of it would.

        Raises:
            OutOfMemory: There is no room for it.
            BackendUnavailable: It can't be opened as it was.
        """
        with self.in_use():
            pass

    @at_work()
    def load(self) -> None:
        """Brings it to its device; called by the memory management."""
        with self._changed:
            if self.is_loaded:
                return
            if self._opened is None:
                self._opened = self._open()
                self._runs_on = self._opened.runs_on
            elif isinstance(self._opened, Movable):
                self._opened.return_to_device()
            self._away = False

    @at_work()
    def release(self) -> None:
        """Leaves the device, as soon as no call is running; called by the memory management.

        Weights that can wait in main memory do so.
        """
        with self._at_rest():
            if not self.is_loaded:
                return
            if isinstance(self._opened, Movable) and self.device.type != "cpu":
                self._opened.leave_device()
                self._away = True
            else:
                self._opened = None
                trim_heap()
            _log.info("%s: released", self.name)

    def drop(self, idle_seconds: float | None = None) -> bool:
        """See `Model.drop`."""
        if idle_seconds is None:
            with self._at_rest():
                return self._drop()
        # Whoever holds the lock is using it, loading it or releasing it.
        if not self._changed.acquire(blocking=False):
            return False
        try:
            in_use = self._running or self._leaving or self._idle_seconds() < idle_seconds
            return False if in_use else self._drop()
        finally:
            self._changed.release()

    def _drop(self) -> bool:
        if self._opened is None:
            return False
        self._opened = None
        self._away = False
        if self._placement != self._wanted:
            # What failed may work again by now.
            self._placement, self._trouble = self._wanted, ""
        self._place.left()
        _log.info("%s: released from memory", self.name)
        return True

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        """Waits for running calls to end, and lets no other begin."""
        with self._changed:
            self._leaving += 1
            try:
                self._changed.wait_for(lambda: self._running == 0)
                yield
            finally:
                self._leaving -= 1
                self._changed.notify_all()

    def _idle_seconds(self) -> float:
        return 0.0 if self._running else time.monotonic() - self._used

    def _find_room(self) -> None:
        try:
            self._make_room()
        except OutOfMemory as error:
            if not self._go_slower(error):
                raise
            self._make_room()

    def _make_room(self) -> None:
        make_room(self.name, self._size_bytes, self._placement, self._opening_factor)

    def _open(self) -> Kind:
        try:
            opened = self._open_at(self._placement)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if not self._go_slower(error):
                raise OutOfMemory(f"{self.name} can't be loaded: {error}") from error
            opened = self._open_at(self._placement)
        # What was only needed to read the file stays with malloc otherwise: 400 MB of the 700 that
        # ONNX Runtime takes to open 260 MB of weights.
        trim_heap()
        if opened.runs_on.note:
            count_fallback()
        self._used = time.monotonic()
        _log.info("%s: loaded, runs on %s", self.name, opened.runs_on)
        return opened

    def _go_slower(self, error: Exception) -> bool:
        """Whether there is another place to go to, which is then the place to be."""
        if self._slower is None or self._placement == self._slower:
            return False
        self._trouble = (
            f"{self._placement.device} failed, it runs on {self._slower.device} until it is "
            f"released: {error}"
        )
        self._placement = self._slower
        count_fallback()
        _log.warning("%s: %s", self.name, self._trouble)
        return True

    def _give_up(self, opened: Kind, error: Exception) -> bool:
        """Lets go of what failed in a call; whether the call can be made again elsewhere."""
        with self._changed:
            if self._opened is not opened:
                return True  # another thread's call has met the same
            if isinstance(error, OutOfMemory) and self._slower is None:
                return False
            self._opened = None
            return self._go_slower(error)
