"""Times into figures: medians with quartiles, ratios round by round."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

#: A turn calls as often as this takes, so that a call of microseconds is not timed alone.
_TURN_SECONDS = 0.02
_MOST_CALLS_A_TURN = 20


def synchronise(device: torch.device) -> None:
    """Waits until a device has done what it was given; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    elif device.type == "xpu":
        torch.xpu.synchronize(device)


def timed(call: Callable[[], Any], device: torch.device) -> tuple[float, float | None]:
    """Calls once and waits for the device.

    Returns:
        Seconds by the clock from before the call until the device is done, and, on CUDA, seconds
        between two events on torch's stream around it.
    """
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        synchronise(device)
        return time.perf_counter() - start, None
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    before.record()
    call()
    after.record()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start, before.elapsed_time(after) / 1000


def calls_a_turn(seconds: float) -> int:
    """How often to call in one turn when a call takes so long."""
    return max(1, min(_MOST_CALLS_A_TURN, math.ceil(_TURN_SECONDS / max(seconds, 1e-9))))


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of at least one value."""
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return {"median": float(middle), "q25": float(low), "q75": float(high)}


def summary(turns: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Median, quartiles and p95 of all calls, and their number."""
    calls = [seconds for turn in turns for seconds in turn]
    p95 = float(np.percentile(np.asarray(calls, dtype=np.float64), 95))
    return {**quartiles(calls), "p95": p95, "calls": len(calls)}


def ratios(baseline: Sequence[Sequence[float]], turns: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How many times as fast as the baseline: made round by round, from neighbours in time."""
    pairs = zip(baseline, turns, strict=True)
    return quartiles([float(np.median(theirs) / np.median(ours)) for theirs, ours in pairs])
