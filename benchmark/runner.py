"""Runs a benchmark: everyone in turns, in random order, and what came of it as one dictionary."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np

from ..utils.parity import Found
from .benchmark_inputs import batch_of
from .implementation import Implementation
from .implementations import all_implementations
from .measure import Row, finished_row, reasoned_row, roofline_seconds, with_ratios
from .measured_machine import describe_machine, versions
from .plan import Case, Options, PlannedRun, cases, entries
from .process import ContestantFailed, Worker
from .reference_checker import ReferenceChecker
from .roofline import has_rate
from .timing import quartiles
from .weights import Weights
from .workers import Workers
from .workloads import JOBS

SCHEMA_VERSION = 1
#: insightface's threads go on spinning after a run; its neighbour must not pay for it.
_PAUSE_SECONDS, _PAUSE_SECONDS_ON_GPU = 0.25, 0.02

#: Called with work done and work in all; what it raises ends the run.
Progress = Callable[[int, int], None]


def run_benchmark(
    options: Options,
    photos: Sequence[np.ndarray],
    weights: Weights,
    on_progress: Progress | None = None,
    check_interrupted: Callable[[], None] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Measures everything that the options ask for.

    Args:
        options: What to measure.
        photos: `[H,W,3]` uint8 RGB each, one at least; larger batches repeat them.
        weights: For all who share weights.
        on_progress: Called after each piece of work.
        check_interrupted: Called ten times a second, also while somebody works; may raise.
        command: What the user typed, for the record.

    Returns:
        The result that `BenchmarkResult` describes.

    Raises:
        InvalidInput: The options ask for what there is not.
    """
    everyone = all_implementations(options.contestant_files)
    options.check(everyone)
    planned = [(case, entries(case, options, everyone, weights.pack)) for case in cases(options)]
    work = sum(2 + len(rows) * (options.rounds + 2) for _, rows in planned)
    workers = Workers(options, weights, check_interrupted)
    run = _Measurement(options, photos, weights, everyone, workers, _Steps(work, on_progress))
    measured_cases = [run.case(case, rows) for case, rows in planned]
    run.add_roofline_shares(measured_cases)
    return {
        "schema": SCHEMA_VERSION,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe_machine(),
        "versions": versions(one.distribution for one in everyone.values() if one.distribution),
        "weights": {
            "name": weights.pack.name,
            "random": weights.random,
            "label": weights.label,
        },
        "settings": _settings(options, photos),
        "noise": workers.noise.reasons(_spreads(measured_cases)),
        "rates": run.rates,
        "import_s": quartiles(run.imports) if run.imports else None,
        "cases": measured_cases,
    }


def _spreads(held: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of each row that was measured, the distance of the quartiles over the median."""
    measured = [
        (f"{case['title']}: {row['label']}", row["seconds"])
        for case in held
        for row in case["rows"]
        if row["state"] == "measured"
    ]
    return {
        name: (seconds["q75"] - seconds["q25"]) / seconds["median"] for name, seconds in measured
    }


def _settings(options: Options, photos: Sequence[np.ndarray]) -> dict[str, Any]:
    chosen = asdict(options)
    chosen["contestant_files"] = [file.name for file in options.contestant_files]
    chosen["image_sizes_hw"] = [size and list(size) for size in options.image_sizes_hw]
    lists = {
        name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()
    }
    return {**lists, "photos": len(photos)}


class _Steps:
    """Counts pieces of work."""

    def __init__(self, work: int, on_progress: Progress | None) -> None:
        self._work, self._finished = work, 0
        self._on_progress = on_progress

    def done(self, steps: int = 1) -> None:
        self._finished += steps
        if self._on_progress:
            self._on_progress(min(self._finished, self._work), self._work)


class _Measurement:
    """One run: what is common to its cases."""

    def __init__(
        self,
        options: Options,
        photos: Sequence[np.ndarray],
        weights: Weights,
        everyone: dict[str, Implementation],
        workers: Workers,
        steps: _Steps,
    ) -> None:
        self.rates: list[dict[str, Any]] = []
        self.imports: list[float] = []
        self._options = options
        self._photos = photos
        self._weights = weights
        self._everyone = everyone
        self._workers = workers
        self._step = steps.done
        self._shuffled = random.Random(0)  # noqa: S311  an order of turns

    def case(self, case: Case, rows: Sequence[PlannedRun]) -> dict[str, Any]:
        """Measures one comparison."""
        # A threshold gives random weights so many faces on one image, not on others.
        photos = self._photos[:1] if self._weights.random else self._photos
        pixels = batch_of(photos, case.size_hw, case.batch)
        checker = ReferenceChecker(self._everyone, self._weights, self._workers.ready)
        threshold = checker.threshold(case, pixels, self._options.random_faces)
        self._step()
        measured: dict[int, Row] = {}
        findings: dict[int, list[Found]] = {}
        with ExitStack() as stack:
            workers = self._started(stack, case, rows, pixels, threshold, measured)
            turns = self._take_turns(workers, rows, measured)
            embeds = JOBS[case.job].needs_recognition
            for place, worker in list(workers.items()):
                try:
                    inspected = worker.ask("inspect")
                    found = worker.ask("find", embed=embeds)
                    self._note_rate(worker, rows[place])
                except ContestantFailed as error:
                    measured[place] = reasoned_row(rows[place], "failed", str(error))
                    del workers[place]
                    continue
                self._step()
                measured[place] |= finished_row(
                    rows[place], turns[place], inspected, found, case.batch
                )
                findings[place] = found
                checker.note(rows[place], found)
        for place, found in findings.items():
            parity = checker.judge(rows[place], case, pixels, threshold, found)
            measured[place]["parity"] = parity
        self._step()
        with_ratios([measured[place] for place in range(len(rows))], turns, rows)
        return {
            "job": case.job,
            "title": JOBS[case.job].title,
            "image_size_hw": [int(side) for side in pixels.shape[1:3]],
            "batch": case.batch,
            "threshold": threshold,
            "rows": [measured[place] for place in range(len(rows))],
        }

    def _started(
        self,
        stack: ExitStack,
        case: Case,
        rows: Sequence[PlannedRun],
        pixels: np.ndarray,
        threshold: float,
        measured: dict[int, Row],
    ) -> dict[int, Worker]:
        """Starts everyone, one after the other, so that loading is timed alone."""
        workers: dict[int, Worker] = {}
        for place, entry in enumerate(rows):
            if entry.reason:
                measured[place] = reasoned_row(entry, "missing", entry.reason)
                self._step(self._options.rounds + 2)
                continue
            worker = stack.enter_context(self._workers.bare())
            try:
                started = self._workers.begin(worker, case, entry, pixels, threshold)
            except ContestantFailed as error:
                measured[place] = reasoned_row(entry, "failed", str(error))
                self._step(self._options.rounds + 2)
                continue
            self.imports.append(started.pop("import_s"))
            measured[place] = reasoned_row(entry, "measured", "") | started
            workers[place] = worker
            self._step()
        return workers

    def _take_turns(
        self, workers: dict[int, Worker], rows: Sequence[PlannedRun], measured: dict[int, Row]
    ) -> dict[int, list[dict[str, Any]]]:
        """Every round each has one turn, in an order that is drawn anew."""
        turns: dict[int, list[dict[str, Any]]] = {place: [] for place in workers}
        on_gpu = all(rows[place].device != "cpu" for place in workers)
        pause = _PAUSE_SECONDS_ON_GPU if on_gpu else _PAUSE_SECONDS
        for _ in range(self._options.rounds):
            # In no fixed order, so that nobody always follows the same neighbour.
            order = list(workers)
            self._shuffled.shuffle(order)
            for place in order:
                self._workers.check_interrupted()
                time.sleep(pause)
                try:
                    turns[place].append(workers[place].ask("turn"))
                except ContestantFailed as error:
                    measured[place] = reasoned_row(rows[place], "failed", str(error))
                    del workers[place], turns[place]
                self._step()
        return turns

    def _note_rate(self, worker: Worker, entry: PlannedRun) -> None:
        """Measures what a device can do in a precision, once."""
        where = {"device": entry.device, "precision": entry.precision}
        known = any(where.items() <= rate.items() for rate in self.rates)
        if not known and has_rate(entry.precision):
            self.rates.append({**where, "flops": worker.ask("rate", **where)})

    def add_roofline_shares(self, held: Sequence[dict[str, Any]]) -> None:
        """Adds to each row the share that the networks' bare arithmetic takes of its time."""
        rows = [(case, row) for case in held for row in case["rows"] if row["state"] == "measured"]
        rates = {(rate["device"], rate["precision"]): rate["flops"] for rate in self.rates}
        for case, row in rows:
            rate = rates.get((row["device"], row["precision"]))
            if rate and self._everyone[row["contestant"]].own_weights() is None:
                floor = roofline_seconds(
                    case, row, self._weights.pack, self._options.det_size, rate
                )
                row["share_of_floor"] = floor and floor / row["seconds"]["median"]
