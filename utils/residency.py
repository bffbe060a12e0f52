"""What takes a device's memory while it is loaded, and the place it has there."""

from __future__ import annotations

import weakref
from typing import Protocol


class Resident(Protocol):
    """Something that takes a device's memory while it is loaded."""

    @property
    def is_loaded(self) -> bool: ...

    def load(self) -> None:
        """Takes the memory."""
        ...

    def release(self) -> None:
        """Gives it back."""
        ...


class Place(Protocol):
    """A resident's place in memory."""

    def require(self) -> None:
        """Sees to it that the resident is loaded, making room first where that is possible."""
        ...

    def left(self) -> None:
        """Takes note that the resident went without being told to."""
        ...


class OwnPlace:
    """A place that nobody manages: the resident loads when it is needed."""

    def __init__(self, resident: Resident) -> None:
        self._resident = weakref.ref(resident)

    def require(self) -> None:
        resident = self._resident()
        if resident is not None and not resident.is_loaded:
            resident.load()

    def left(self) -> None:
        """Nobody keeps a list."""
