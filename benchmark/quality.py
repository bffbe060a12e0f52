"""Do all ways give the same answers? Every backend, device and precision on all photos at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..utils.errors import InvalidInput
from ..utils.parity import Found, compare
from .benchmark_inputs import fitted
from .implementations import all_implementations
from .plan import Case, Options, PlannedRun, entries
from .process import ContestantFailed
from .reference_checker import ReferenceChecker, on_cpu
from .runner import Progress
from .weights import Weights
from .workers import Workers
from .workloads import JOBS

#: Others that share the batch with each photo: neighbours must not change an answer.
_COMPANIONS = 3
REFERENCE, BATCH = "the reference", "one by one"

Findings = dict[str, list[Found]]


def examine(
    options: Options,
    photos: Mapping[str, np.ndarray],
    weights: Weights,
    on_progress: Progress | None = None,
    check_interrupted: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Compares every way of analysing with the reference, and batches with single images.

    Args:
        options: Contestants, devices, precisions; of the jobs the first.
        photos: `[H,W,3]` uint8 RGB each, by name.
        weights: Trained ones.
        on_progress: Called after each contestant.
        check_interrupted: Called ten times a second; may raise.

    Returns:
        `weights`, `photos` (names), and `rows`: for each way and each comparison (`against`
        `the reference` or `one by one`) what `parity.compare` says, or `state` and `reason` where
        there is nothing to say; with the findings of the worst photo of both, for a picture.

    Raises:
        InvalidInput: The weights are random, or there is no photo.
    """
    if weights.random:
        raise InvalidInput(
            f"got {weights.label}; quality is about faces: choose a pack with trained weights"
        )
    if not photos:
        raise InvalidInput("got no photo, expected one at least")
    everyone = all_implementations(options.contestant_files)
    options.check(everyone)
    case = Case(options.jobs[0], None, 1)
    workers = Workers(options, weights, check_interrupted)
    checker = ReferenceChecker(everyone, weights, workers.ready)
    examination = _Examination(case, photos, workers)
    ways = entries(case, options, everyone, weights.pack)
    rows: list[dict[str, Any]] = []
    for number, way in enumerate(ways, start=1):
        name = checker.reference_of(way.own_weights, case.job)
        reference = on_cpu(name, everyone[name]) if name else None
        rows += examination.rows(way, reference)
        if on_progress:
            on_progress(number, len(ways))
    return {"weights": weights.label, "photos": list(photos), "rows": rows}


class _Examination:
    """One job on all photos."""

    def __init__(self, case: Case, photos: Mapping[str, np.ndarray], workers: Workers) -> None:
        self._case = case
        self._photos = photos
        self._workers = workers
        self._known: dict[str, Findings] = {}

    def rows(self, way: PlannedRun, reference: PlannedRun | None) -> list[dict[str, Any]]:
        """A way's comparisons."""
        if way.reason:
            return [_silent(way, REFERENCE, "missing", way.reason)]
        try:
            mine = self._findings(way)
            if reference is None or reference == way:
                first = _silent(way, REFERENCE, "reference", "others are compared with it")
            else:
                right = self._findings(reference)["single"]
                first = self._compared(way, reference.label, right, mine["single"])
        except ContestantFailed as error:
            return [_silent(way, REFERENCE, "failed", str(error))]
        if not JOBS[self._case.job].batches:
            return [first]
        return [first, self._compared(way, BATCH, mine["single"], mine["batch"])]

    def _findings(self, way: PlannedRun) -> Findings:
        """What somebody finds in each photo alone, and in each among companions."""
        if way.label in self._known:
            return self._known[way.label]
        photos = list(self._photos.values())
        embed = JOBS[self._case.job].needs_recognition
        single, batch = [], []
        with self._workers.ready(self._case, way, photos[0][None], 0.0) as worker:
            for place, photo in enumerate(photos):
                others = [
                    photos[(place + step) % len(photos)] for step in range(1, _COMPANIONS + 1)
                ]
                company = [photo, *(fitted(other, photo.shape[:2]) for other in others)]
                single += worker.ask("find_in", pixels=photo[None], source="photo", embed=embed)
                if JOBS[self._case.job].batches:
                    found = worker.ask(
                        "find_in", pixels=np.stack(company), source="photo", embed=embed
                    )
                    batch.append(found[0])
        self._known[way.label] = {"single": single, "batch": batch}
        return self._known[way.label]

    def _compared(
        self, way: PlannedRun, against: str, right: Sequence[Found], mine: Sequence[Found]
    ) -> dict[str, Any]:
        figures = compare(right, mine)
        worst = figures["worst_image"]
        return {
            "label": way.label,
            "ours": way.is_ours,
            "against": against,
            "state": "compared",
            "reason": "",
            **figures,
            "worst_photo": list(self._photos)[worst],
            "worst": (right[worst], mine[worst]),
        }


def _silent(
    way: PlannedRun, against: str, state: Literal["reference", "missing", "failed"], reason: str
) -> dict[str, Any]:
    return {
        "label": way.label,
        "ours": way.is_ours,
        "against": against,
        "state": state,
        "reason": reason,
    }
