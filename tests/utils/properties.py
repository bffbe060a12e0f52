"""How property tests run here: the same examples every time, and no clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def steady(max_examples: int) -> settings:
    """Settings for a property test of this many examples, the same ones in every run."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
