"""`ReferenceChecker`: holds the fp32 results on the CPU, and compares everyone with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..utils.parity import Found, compare
from .implementation import Implementation
from .plan import Case, PlannedRun
from .process import ContestantFailed, Worker
from .weights import Weights
from .workloads import JOBS, NETWORK

#: Whose results on the CPU count for a pack's weights, best first.
_REFERENCES = ("insightface", "onnxruntime", "torch")


class ReferenceChecker:
    """Of one case."""

    def __init__(
        self,
        everyone: Mapping[str, Implementation],
        weights: Weights,
        start: Callable[..., AbstractContextManager[Worker]],
    ) -> None:
        """
        Args:
            everyone: All contestants by name.
            weights: Those of the case.
            start: Gives a worker that has begun: called with case, entry, pixels, threshold.
        """
        self._everyone = everyone
        self._weights = weights
        self._start = start
        self._known: dict[str, list[Found]] = {}

    def threshold(self, case: Case, pixels: np.ndarray, faces: int) -> float:
        """The threshold that makes random weights report so many faces; 0 for real ones.

        Raises:
            ContestantFailed: There is no such threshold, or nobody to try it with.
        """
        if not self._weights.random:
            return 0.0
        name = self.reference_of(None, "detect")
        if name is None:
            raise ContestantFailed("neither insightface, onnxruntime nor torch runs here")
        detect = Case("detect", case.size_hw, 1)
        with self._start(detect, on_cpu(name, self._everyone[name]), pixels[:1], 0.5) as worker:
            return worker.ask("threshold", faces=faces)

    def note(self, entry: PlannedRun, found: Sequence[Found]) -> None:
        """Remembers results that others will be held against."""
        if self._is_reference(entry):
            self._known[entry.contestant] = list(found)

    def _is_reference(self, entry: PlannedRun) -> bool:
        return entry == on_cpu(entry.contestant, self._everyone[entry.contestant])

    def judge(
        self,
        entry: PlannedRun,
        case: Case,
        pixels: np.ndarray,
        threshold: float,
        found: Sequence[Found],
    ) -> dict[str, Any]:
        """Parity of a row: see `parity.compare`; where there is none, `verdict` says why."""
        if entry.variant == NETWORK:
            return {"verdict": "none", "reasons": ["finds nothing"]}
        weights = entry.own_weights
        name = self.reference_of(weights, case.job)
        shared = [one for one in self._everyone.values() if one.own_weights() == weights]
        if name is None or len(shared) == 1:
            return {"verdict": "none", "reasons": [f"nobody else runs {weights} here"]}
        reference = on_cpu(name, self._everyone[name])
        if entry == reference:
            return {"verdict": "reference", "reasons": []}
        if name not in self._known:
            try:
                with self._start(case, reference, pixels, threshold) as worker:
                    embed = JOBS[case.job].needs_recognition
                    self._known[name] = worker.ask("find", embed=embed)
            except ContestantFailed as error:
                return {"verdict": "none", "reasons": [f"the reference {name} failed: {error}"]}
        return {"reference": reference.label, **compare(self._known[name], found)}

    def reference_of(self, weights: str | None, job: str) -> str | None:
        """Whose results count for these weights; None is the pack's."""
        names = _REFERENCES if weights is None else tuple(self._everyone)
        for name in names:
            one = self._everyone.get(name)
            if one is None or one.own_weights() != weights or (weights and one.is_ours):
                continue
            if not one.why_unavailable() and not one.why_unsupported(job, self._weights.pack):
                return name
        return None


def on_cpu(name: str, contestant: Implementation) -> PlannedRun:
    """The row of a contestant on the CPU in fp32."""
    own = contestant.own_weights()
    return PlannedRun(name, contestant.is_ours, "cpu", "fp32", own_weights=own)
