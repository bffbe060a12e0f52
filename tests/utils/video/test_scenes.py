"""Cuts between scenes, by how much each frame differs from the one before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.video.scenes import LOOKED_BACK, change, cuts, is_cut, small_picture


@pytest.mark.parametrize(
    "changes, expected",
    [
        ([], []),
        ([0], []),
        ([0] * 20, []),
        ([0, *[3] * 9, 60, *[3] * 9], [10]),
        ([0, 60], [1]),
        ([0, *[3] * 9, 60], [10]),
        ([0, *[25] * 30], []),  # a camera that moves from the beginning
        ([0, *[1] * 10, *[30] * 20], []),  # and one that begins to
        ([0, *[25] * 10, 90, *[25] * 10], [11]),  # a cut while it moves
        ([0, *[3] * 9, 15, *[3] * 9], []),  # somebody goes by
    ],
)
def test_cuts(changes: list[float], expected: list[int]):
    assert cuts(np.array(changes, np.float32)) == expected


def test_what_is_no_cut_is_none_with_the_last_few_changes_alone():
    changes = np.random.default_rng(0).uniform(0, 60, 400).astype(np.float32)
    for place in range(1, 400):
        recent = changes[max(1, place + 1 - LOOKED_BACK) : place + 1]
        assert is_cut(recent) == is_cut(changes[1 : place + 1])


def test_small_pictures_are_the_same_for_all_kinds_of_pixels():
    levels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8))
    small = small_picture(levels)
    assert small.shape == (36, 64) and small.dtype == np.uint8
    assert np.array_equal(small_picture(levels.float() / 255), small)
    assert change(small, small) == 0
    assert change(np.zeros_like(small), np.full_like(small, 255)) == 255
