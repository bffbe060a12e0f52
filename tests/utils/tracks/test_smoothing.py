"""Still landmarks are still, moving ones are followed: both computed, nothing timed."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.utils.errors import InvalidInput
from fastface.utils.tracks.smoothing import one_euro, steadied

RATE = 30
FACE_PX = 100.0
DEFAULT = 0.5


def shiver(frames: int, seed: int = 0, px: float = 0.8) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, px, (frames, 5, 2))


def steady(values: np.ndarray, strength: float = DEFAULT, rate: float = RATE) -> np.ndarray:
    times = np.arange(len(values)) / rate
    return steadied(values, times, np.full(len(values), FACE_PX), strength)


def jitter(values: np.ndarray) -> float:
    """Root mean square distance from the mean place."""
    return float(np.sqrt(np.square(values - values.mean(0)).mean()))


def lag_in_frames(smoothed: np.ndarray, true: np.ndarray) -> float:
    """By how many frames a path has to be moved in time to lie best on the true one."""
    moves = np.arange(-8, 8.01, 0.05)
    inner = np.arange(10, len(true) - 10)
    frames = np.arange(len(true))
    apart = [
        np.square(np.interp(inner - move, frames, true) - smoothed[inner]).mean() for move in moves
    ]
    return float(moves[int(np.argmin(apart))])


class TestStrength:
    def test_none_changes_nothing(self):
        values = shiver(20)
        assert np.array_equal(steady(values, 0.0), values)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_still_face_is_three_times_as_still(self, seed: int):
        values = 300 + shiver(150, seed)
        assert jitter(steady(values)) * 3 <= jitter(values)
        # From one frame to the next, which is what the eye sees, much more so.
        assert np.diff(steady(values), axis=0).std() * 6 <= np.diff(values, axis=0).std()

    def test_more_strength_is_stiller(self):
        values = shiver(200)
        jitters = [jitter(steady(values, strength)) for strength in (0, 0.25, 0.5, 0.75, 1)]
        assert jitters == sorted(jitters, reverse=True)

    @pytest.mark.parametrize("speed", [0.2, 1.0, 4.0])
    def test_a_moving_face_is_followed_within_a_frame(self, speed: float):
        frames = np.arange(120)
        walk = np.broadcast_to((speed * FACE_PX * frames / RATE)[:, None, None], (120, 5, 2))
        smoothed = steady(walk + shiver(120))
        assert abs(lag_in_frames(smoothed[:, 2, 0], walk[:, 2, 0])) < 1

    @pytest.mark.parametrize("hz", [0.3, 0.7])
    def test_a_face_that_sways_is_followed_within_a_frame(self, hz: float):
        frames = np.arange(300)
        sway = FACE_PX * np.sin(2 * np.pi * hz * frames / RATE)
        values = np.broadcast_to(sway[:, None, None], (300, 5, 2)) + shiver(300)
        smoothed = steady(values)
        assert abs(lag_in_frames(smoothed[:, 2, 0], sway)) < 1
        assert np.abs(smoothed[20:-20, 2, 0] - sway[20:-20]).max() < 0.15 * FACE_PX

    def test_nothing_moves_beyond_where_it_was(self):
        values = shiver(50)
        smoothed = steady(values, 1.0)
        assert smoothed.min() >= values.min() and smoothed.max() <= values.max()

    @pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
    def test_other_strengths_are_refused(self, strength: float):
        with pytest.raises(InvalidInput, match="expected 0 to 1"):
            steady(shiver(3), strength)


class TestOneEuro:
    def test_is_that_of_the_paper(self):
        """Against the authors' own algorithm, written out for one number at a time."""
        rng = np.random.default_rng(3)
        values, times = rng.normal(0, 1, 40).cumsum(), np.cumsum(rng.uniform(0.01, 0.1, 40))
        expected, speed, last = [values[0]], 0.0, values[0]
        for step in range(1, 40):
            rate = 1 / (times[step] - times[step - 1])

            def alpha(cutoff: float, rate: float = rate) -> float:
                return 1.0 / (1.0 + (1.0 / (2 * np.pi * cutoff)) / (1.0 / rate))

            change = (values[step] - values[step - 1]) * rate
            speed = alpha(1.0) * change + (1 - alpha(1.0)) * speed
            share = alpha(1.5 + 0.7 * abs(speed))
            last = share * values[step] + (1 - share) * last
            expected.append(last)
        assert np.allclose(one_euro(values, times, 1.5, 0.7), expected, atol=1e-12)

    def test_two_frames_at_one_time_are_one(self):
        smoothed = one_euro(np.array([1.0, 5.0, 5.0]), np.array([0.0, 0.0, 0.1]), 1, 0)
        assert smoothed[1] == 1.0 and np.isfinite(smoothed).all()
