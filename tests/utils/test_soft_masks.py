"""Soft edges of masks: the Gaussian itself, however wide, with black and white left as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.soft_masks import blurred

STEP = 1 / 65536


def shapes() -> torch.Tensor:
    """`[2,150,211]` float32: a box in the middle, and one at the border with a hole."""
    masks = torch.zeros(2, 150, 211)
    masks[0, 40:90, 60:140] = 1
    masks[1, 100:, :50] = 1
    masks[1, 120:130, 20:30] = 0
    return masks


def test_no_blur_gives_the_masks_back():
    masks = shapes()
    assert blurred(masks, 0.0) is masks


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5, 16.0, 64.0, 512.0])
def test_it_is_the_gaussian_within_a_step(sigma: float):
    ndimage = pytest.importorskip("scipy.ndimage")
    masks = shapes()
    reach = int(np.ceil(3 * sigma))
    for mask, result in zip(masks, blurred(masks, sigma), strict=True):
        expected = ndimage.gaussian_filter(
            mask.double().numpy(), sigma, mode="nearest", radius=reach
        )
        assert np.abs(result.numpy() - expected).max() <= STEP


@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_what_nothing_reaches_stays_exactly_black_and_white(sigma: float):
    masks = torch.zeros(1, 300, 400)
    masks[0, 100:200, 150:250] = 1
    result = blurred(masks, sigma)[0]
    reach = int(np.ceil(3 * sigma))
    outside = result.clone()
    outside[100 - reach : 200 + reach, 150 - reach : 250 + reach] = 0
    assert not outside.any()
    inside = result[100 + reach : 200 - reach, 150 + reach : 250 - reach]
    assert torch.equal(inside, torch.ones_like(inside))
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_any_batch_and_size_goes():
    for shape in ((0, 5, 7), (1, 1, 1), (3, 1, 90), (2, 257, 1)):
        result = blurred(torch.ones(shape), 7.0)
        assert torch.equal(result, torch.ones(shape))
