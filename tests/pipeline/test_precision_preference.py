"""Which of several proven precisions is taken."""

from __future__ import annotations

import pytest

from fastface.pipeline.precision_choice import _best
from fastface.pipeline.precision_proof import PrecisionProof
from fastface.utils.accuracy_report import FIT, AccuracyReport
from fastface.utils.precision import Precision


def proof(precision: Precision, speed: float, cosine: float) -> PrecisionProof:
    figures = {"fp32_ms": 10.0 * speed, "ms": 10.0, "cosine_median": cosine}
    return PrecisionProof("detection", precision, "", AccuracyReport(FIT, (), figures))


@pytest.mark.parametrize(
    ("int8_speed", "taken"), [(1.8, "bf16"), (2.0, "bf16"), (2.2, "bf16"), (2.5, "int8")]
)
def test_of_those_that_are_about_as_fast_the_closest_to_fp32(int8_speed: float, taken: str):
    proofs = [proof("int8", int8_speed, 0.9995), proof("bf16", 2.0, 0.9999)]
    assert _best(proofs).precision == taken
    assert _best(proofs[::-1]).precision == taken
