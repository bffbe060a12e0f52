"""How far a build is, by the phases that the builder reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .library import Library

#: Called with the share that is done, 0..1; what it raises ends the build.
OnShare = Callable[[float], None]


@dataclass
class _Phase:
    begin: float
    width: float
    steps: int
    done: int = 0

    @property
    def now(self) -> float:
        return self.begin + self.width * min(1.0, self.done / self.steps)


class Phases:
    """The share of a build that is done: a phase within another fills one of its steps."""

    def __init__(self) -> None:
        self._open: dict[str, _Phase] = {}
        #: Never falls, though builders open phases they have not announced.
        self.share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        outer = self._open.get(parent) if parent else None
        begin, width = (outer.now, outer.width / outer.steps) if outer else (self.share, 1.0)
        self._open[name] = _Phase(begin, min(width, 1.0 - begin), max(1, steps))

    def step(self, name: str, number: int) -> None:
        """`number`: of the step that is complete, counted from 0."""
        phase = self._open.get(name)
        if phase is not None:
            phase.done = number + 1
            self.share = max(self.share, phase.now)

    def finish(self, name: str) -> None:
        phase = self._open.pop(name, None)
        if phase is not None:
            self.share = max(self.share, phase.begin + phase.width)


class Watch:
    """Passes a builder's progress on, and ends the build when whoever listens raises."""

    def __init__(self, library: Library, on_share: OnShare) -> None:
        self._phases = Phases()
        self._on_share = on_share
        # Builders report from threads of their own, several at a time.
        self._lock = threading.Lock()
        self._raised: BaseException | None = None
        #: What the builder's configuration takes; it must outlive the build.
        self.monitor = _monitor(library.module, self)

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases.start(name, parent, steps)

    def step(self, name: str, number: int) -> bool:
        """Whether the build is to go on."""
        with self._lock:
            if self._raised is None:
                self._phases.step(name, number)
                try:
                    self._on_share(self._phases.share)
                # It can't pass through the builder, which is not Python: `end` raises it again.
                except BaseException as error:  # noqa: BLE001
                    self._raised = error
            return self._raised is None

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.finish(name)

    def end(self) -> None:
        """Raises what ended the build, if anything did."""
        if self._raised is not None:
            raise self._raised


def _monitor(module: Any, watch: Watch) -> Any:
    class Monitor(module.IProgressMonitor):
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    return Monitor()
