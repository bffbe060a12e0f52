"""Which share of a call's time each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..utils.metrics import listening
from .timing import synchronise

#: What is in none of the marked stages.
REST = "rest"


class StageClock:
    """Notes at each border between stages what begins there; time inside another stage is its own.

    On CUDA a border is an event on torch's stream, so that listening makes nothing wait. Elsewhere
    it is the clock, after the device is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inside = [REST]
        self._borders: list[tuple[Any, str]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._enter(name)
        try:
            yield
        finally:
            self._inside.pop()
            self._note()

    def _enter(self, name: str) -> None:
        self._inside.append(name)
        self._note()

    def _note(self) -> None:
        if self._device.type == "cuda":
            border = torch.cuda.Event(enable_timing=True)
            border.record()
        else:
            synchronise(self._device)
            border = time.perf_counter()
        self._borders.append((border, self._inside[-1]))

    def seconds(self, call: Callable[[], Any]) -> dict[str, float]:
        """Calls once; seconds of each stage by name, in the order in which they first began."""
        self._borders.clear()
        self._note()
        with listening(self.stage):
            call()
        self._note()
        synchronise(self._device)
        found: dict[str, float] = {}
        for (begin, name), (end, _) in zip(self._borders, self._borders[1:], strict=False):
            found[name] = found.get(name, 0.0) + self._between(begin, end)
        return found

    def _between(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end) / 1000 if self._device.type == "cuda" else end - begin


def stage_shares(
    call: Callable[[], Any],
    device: torch.device,
    calls: int = 5,
    before: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Share 0..1 of each stage over several calls; `rest` is last. Empty if nothing is marked.

    Args:
        call: What is measured.
        device: Where it computes.
        calls: How often it is called.
        before: Called before each call, and not measured.
    """
    clock = StageClock(device)
    sums: dict[str, float] = {}
    for _ in range(calls):
        before()
        for name, seconds in clock.seconds(call).items():
            sums[name] = sums.get(name, 0.0) + seconds
    rest = sums.pop(REST, 0.0)
    if not sums:
        return {}
    whole = sum(sums.values()) + rest
    return {name: seconds / whole for name, seconds in {**sums, REST: rest}.items()}
