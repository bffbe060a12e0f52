"""The horizontal axis of a chart: where a value lies, and the values that are named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Beyond this ratio short bars can't be told apart on a linear axis.
_LOG_BEYOND = 20.0
#: Room for what is written behind the longest bar, as a share of it.
_ROOM = 0.45
_MOST_STEPS = 8


@dataclass(frozen=True)
class Axis:
    """An axis from 0 to 1.

    Attributes:
        low: The value at 0.
        high: The value at 1.
        ticks: Values that are named, from low to high.
        is_log: Whether equal ways are equal ratios.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool

    def place(self, value: float) -> float:
        """Where a value lies, 0..1."""
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return min(max((value - low) / (high - low), 0.0), 1.0)


def axis_for(values: Sequence[float], ends: Sequence[float]) -> Axis:
    """An axis on which all values can be told apart.

    Args:
        values: Lengths of the bars, above 0; one at least.
        ends: Up to where something is drawn for each.
    """
    if max(values) / min(values) > _LOG_BEYOND:
        low = math.log10(min(values) / 2)
        high = low + (math.log10(max(ends)) - low) * (1 + _ROOM)
        decades = range(math.ceil(low), math.floor(high) + 1)
        return Axis(10**low, 10**high, tuple(10.0**decade for decade in decades), True)
    high = max(ends) * (1 + _ROOM)
    step = _round_step(high)
    ticks = tuple(step * number for number in range(math.floor(high / step) + 1))
    return Axis(0.0, high, ticks, False)


def _round_step(high: float) -> float:
    """The smallest of 1, 2, 5, 10, ... times a power of ten that makes few steps."""
    power = 10.0 ** math.floor(math.log10(high / _MOST_STEPS))
    return next(times * power for times in (1, 2, 5, 10) if high / (times * power) <= _MOST_STEPS)
