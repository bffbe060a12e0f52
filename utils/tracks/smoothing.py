"""Coordinates over time that shiver less: the one-euro filter, run both ways."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InvalidInput

#: Cutoff frequency for what stands still, in Hz: that of the weakest and of the full strength.
_WEAKEST_CUTOFF_HZ, _STRONGEST_CUTOFF_HZ = 10.0, 0.08
#: By how many Hz the cutoff rises with a speed of one face a second, weakest and strongest.
_WEAKEST_RISE, _STRONGEST_RISE = 15.0, 1.0
#: Cutoff for the speed itself, in Hz, as in the paper.
_SPEED_CUTOFF_HZ = 1.0


def steadied(
    values: np.ndarray, times: np.ndarray, sizes: np.ndarray, strength: float
) -> np.ndarray:
    """Values over time without their shiver: what stands still is steady, what moves is followed.

    The filter runs forwards and backwards, and the mean is taken: each lags as much as the other
    leads, so that at a steady speed nothing lags.

    Args:
        values: `[T, ...]` float64, coordinates in pixels.
        times: `[T]` seconds, never falling.
        sizes: `[T]` side of the face in pixels: what speed is measured by.
        strength: 0 changes nothing, 1 is as steady as can be.

    Returns:
        `[T, ...]` float64.

    Raises:
        InvalidInput: The strength is not from 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise InvalidInput(f"got a strength of smoothing of {strength}, expected 0 to 1")
    if strength == 0 or len(values) < 2:
        return values.copy()
    cutoff = _WEAKEST_CUTOFF_HZ * (_STRONGEST_CUTOFF_HZ / _WEAKEST_CUTOFF_HZ) ** strength
    rise = _WEAKEST_RISE * (_STRONGEST_RISE / _WEAKEST_RISE) ** strength
    side = max(float(np.median(sizes)), 1e-6)
    forwards = one_euro(values / side, times, cutoff, rise)
    backwards = one_euro(values[::-1] / side, -times[::-1], cutoff, rise)[::-1]
    return (forwards + backwards) / 2 * side


def one_euro(
    values: np.ndarray, times: np.ndarray, min_cutoff_hz: float, rise: float
) -> np.ndarray:
    """A low-pass filter whose cutoff rises with speed.

    Args:
        values: `[T, ...]`.
        times: `[T]` seconds, never falling.
        min_cutoff_hz: The cutoff for what stands still.
        rise: By how many Hz the cutoff rises with a speed of one a second: the paper's beta.

    Returns:
        `[T, ...]` float64.

    Source:
        Casiez, Roussel, Vogel: 1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
        Interactive Systems (CHI 2012).
    """
    result = np.array(values, np.float64)
    speed = np.zeros_like(result[0])
    for step, elapsed in enumerate(np.diff(times).tolist(), start=1):
        if elapsed <= 0:
            result[step] = result[step - 1]
            continue
        moved = (values[step] - values[step - 1]) / elapsed
        speed = speed + _share(_SPEED_CUTOFF_HZ, elapsed) * (moved - speed)
        share = _share(min_cutoff_hz + rise * np.abs(speed), elapsed)
        result[step] = result[step - 1] + share * (values[step] - result[step - 1])
    return result


def _share(cutoff_hz: np.ndarray | float, elapsed: float) -> np.ndarray | float:
    """How much of a new value counts in a low-pass filter of first order."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed))
