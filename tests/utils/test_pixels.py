"""8-bit levels of floating pictures: the same by OpenCV and by torch, for any values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.pixels import extremes, quantised
from tests.utils.properties import steady

pytest.importorskip("cv2")

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def by_torch(pixels: torch.Tensor) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastface.utils.pixels.opencv_is_there", lambda: False)
        return quantised(pixels)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_level_and_every_border_between_two(dtype: torch.dtype):
    pixels = (torch.arange(-40, 600).double() / 510).to(dtype).view(1, -1, 2)
    assert torch.equal(quantised(pixels), by_torch(pixels))
    exact = (torch.arange(256).double() / 255).to(dtype)
    if dtype != torch.bfloat16:  # which has not so many levels
        assert quantised(exact).tolist() == list(range(256))


@steady(100)
@given(st.lists(st.floats(-3, 4, width=32), min_size=1, max_size=50))
def test_any_values(values: list[float]):
    pixels = torch.tensor(values)
    assert torch.equal(quantised(pixels), by_torch(pixels))


@pytest.mark.parametrize(
    "view",
    [
        lambda pixels: pixels,
        lambda pixels: pixels[:, ::2, 3:9],
        lambda pixels: pixels.permute(0, 3, 1, 2),
        lambda pixels: pixels[..., :1].expand(-1, -1, -1, 3),
        lambda pixels: pixels[:0],
    ],
    ids=["whole", "part", "planes", "grey", "none"],
)
def test_views_of_other_memory(view):
    pixels = view(torch.rand(2, 8, 12, 3))
    before = pixels.clone()
    assert torch.equal(quantised(pixels), by_torch(pixels)) and torch.equal(pixels, before)
    assert quantised(pixels).shape == pixels.shape


def test_8_bit_pictures_are_left_as_they_are():
    pixels = torch.arange(12, dtype=torch.uint8)
    assert quantised(pixels) is pixels


@pytest.mark.parametrize("dtype", FLOATS)
def test_extremes(dtype: torch.dtype):
    pixels = torch.linspace(-0.5, 1.25, 24).to(dtype).view(2, 3, 4)
    assert extremes(pixels).tolist() == [-0.5, 1.25] and extremes(pixels).dtype == torch.float32
    pixels[1, 2, 3] = float("nan")
    assert np.isnan(extremes(pixels).numpy()).all()
