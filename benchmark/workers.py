"""`Workers`: gives every contestant its process, and knows what all of them used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .implementation import Setting
from .measured_machine import NoiseWatch
from .plan import Case, Options, PlannedRun
from .process import Worker
from .weights import Weights


class Workers:
    """The processes of one run."""

    def __init__(
        self, options: Options, weights: Weights, check_interrupted: Callable[[], None] | None
    ) -> None:
        """`check_interrupted`: called ten times a second while a process works; may raise."""
        self.check_interrupted = check_interrupted or (lambda: None)
        self.noise = NoiseWatch()
        self._options = options
        self._weights = weights

    @contextmanager
    def bare(self) -> Iterator[Worker]:
        """A process in which nothing has begun."""
        worker = Worker(self.check_interrupted)
        try:
            with worker:
                yield worker
        finally:
            self.noise.finished(worker.cpu_seconds)

    @contextmanager
    def ready(
        self, case: Case, entry: PlannedRun, pixels: np.ndarray, threshold: float
    ) -> Iterator[Worker]:
        """A process in which a contestant is ready; see `begin`."""
        with self.bare() as worker:
            self.begin(worker, case, entry, pixels, threshold)
            yield worker

    def begin(
        self, worker: Worker, case: Case, entry: PlannedRun, pixels: np.ndarray, threshold: float
    ) -> dict[str, Any]:
        """Opens a contestant in a process and runs its job for the first time.

        Args:
            worker: From `bare`.
            case: Says the job.
            entry: Who, where, how.
            pixels: `[B,H,W,3]` uint8 RGB.
            threshold: Lowest score of a face; 0 takes what suits the weights.

        Returns:
            `first_call_s`, `runs_on`, and `import_s`, the import of this pack.

        Raises:
            ContestantFailed: It can't.
        """
        pack = self._weights.pack
        setting = Setting(
            job=case.job,
            variant=entry.variant,
            device=entry.device,
            precision=entry.precision,
            pack_name=pack.name,
            pack_folder=str(Path(pack.folder).resolve()),
            det_size=self._options.det_size,
            threshold=threshold,
        )
        return worker.ask(
            "start",
            contestant=entry.contestant,
            files=[str(file.resolve()) for file in self._options.contestant_files],
            setting=asdict(setting),
            source=self._options.source,
            pixels=pixels,
        )
