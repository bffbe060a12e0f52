"""Which models are in memory now."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ...utils.free_memory import return_memory
from ...utils.shutdown import at_work
from ..placement import RunsOn


@dataclass(frozen=True)
class ModelName:
    """Which model it is, for people and for `unload`.

    Attributes:
        pack: Name of its pack.
        task: What it is for; several, divided by commas, where one engine holds them together.
        backend: Name of the backend that opened it.
        file: Name of its file.
    """

    pack: str
    task: str
    backend: str
    file: str

    def __str__(self) -> str:
        return f"{self.pack} {self.task} ({self.file})"


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        pack, task, backend: See `ModelName`.
        device: Where its weights are now: `cuda:0`, or `cpu` while it waits to be needed there.
        runs_on: What it runs on, with a note where that is not what was asked for.
        size_bytes: Size of its weights.
        idle_seconds: Since its last call ended, 0 while one is running.
    """

    pack: str
    task: str
    backend: str
    device: str
    runs_on: RunsOn
    size_bytes: int
    idle_seconds: float


class Model(Protocol):
    """Something in memory that can leave it and come back."""

    name: ModelName

    def status(self) -> LoadedModel | None:
        """What it is now, or None while it is not in memory."""
        ...

    def drop(self, idle_seconds: float | None = None) -> bool:
        """Lets go of everything it holds.

        Args:
            idle_seconds: Only if no call is running and none was for as long; None waits for the
                end of running calls.

        Returns:
            Whether there was anything, and it went.
        """
        ...


_models: weakref.WeakSet[Model] = weakref.WeakSet()
_lock = threading.Lock()
_fallbacks = 0


def remember(model: Model) -> None:
    """Adds a model; it is forgotten with its last user."""
    with _lock:
        _models.add(model)


def models() -> list[Model]:
    """Every model that somebody may use, in memory or not."""
    with _lock:
        return list(_models)


def loaded() -> list[LoadedModel]:
    """The models in memory, by pack and task."""
    found = [status for model in models() if (status := model.status()) is not None]
    return sorted(found, key=lambda each: (each.pack, each.task, each.backend, each.device))


def drop(some: Iterable[Model], idle_seconds: float | None = None) -> int:
    """Drops models and hands their memory back to the system; how many went."""
    went = 0
    for model in some:
        with at_work():
            went += model.drop(idle_seconds)
    if went:
        with at_work():
            return_memory()
    return went


def count_fallback() -> None:
    """Notes that a model runs another way than was asked for."""
    global _fallbacks
    with _lock:
        _fallbacks += 1


def fallbacks() -> int:
    """How often a model was opened, or went on, another way than was asked for."""
    return _fallbacks
