"""`AccuracyReport`: whether cheaper answers may take the place of single precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Verdict = Literal["fit", "unfit", "untested"]
FIT: Verdict = "fit"
UNFIT: Verdict = "unfit"
UNTESTED: Verdict = "untested"


@dataclass(frozen=True)
class AccuracyReport:
    """What a comparison found.

    Attributes:
        verdict: Whether they may.
        reasons: Why it is not fit.
        figures: Largest differences by name, in the unit that the name ends in.
        reference: What it was held against.
        images, faces: How many there were to compare.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    reference: str = ""
    images: int = 0
    faces: int = 0

    @property
    def is_fit(self) -> bool:
        return self.verdict == FIT

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> AccuracyReport:
        """What was noted of an engine; `untested` where that says nothing."""
        try:
            known = AccuracyReport(**{**record, "reasons": tuple(record["reasons"])})
        except (KeyError, TypeError):
            return AccuracyReport(UNTESTED, ("nothing was noted of it",))
        is_whole = (
            known.verdict in get_args(Verdict)
            and all(isinstance(reason, str) for reason in known.reasons)
            and isinstance(known.figures, dict)
            and all(isinstance(figure, (int, float)) for figure in known.figures.values())
            and isinstance(known.reference, str)
            and isinstance(known.images, int)
            and isinstance(known.faces, int)
        )
        return known if is_whole else AccuracyReport(UNTESTED, ("what was noted of it is damaged",))

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.5g}" for name, value in self.figures.items())
        reasons = "; ".join(self.reasons)
        on = f" on {self.faces} faces against {self.reference}" if self.faces else ""
        return ": ".join(filter(None, (self.verdict + on, reasons, figures)))
