from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from fastface.utils import pixels
from fastface.utils.pixels import resize_8bit, resize_by_steps
from tests.utils.properties import steady

cv2 = pytest.importorskip("cv2")


def into_a_canvas(pixels: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """`resize_8bit` into the middle of a larger canvas, of which it must touch nothing else."""
    canvas = torch.full((len(pixels), size_hw[0] + 5, size_hw[1] + 7, 3), 77, dtype=torch.uint8)
    part = canvas[:, 2:-3, 3:-4]
    resize_8bit(pixels, part)
    scaled = part.clone()
    part.fill_(77)
    assert (canvas == 77).all()
    return scaled


WAYS = pytest.mark.parametrize("way", [into_a_canvas, resize_by_steps])
sides = st.integers(1, 300)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def expected(images: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(np.ascontiguousarray(i), size_hw[::-1]) for i in images])


def assert_equal(got: Tensor, wanted: np.ndarray) -> None:
    assert got.dtype == torch.uint8 and tuple(got.shape) == wanted.shape
    differing = int((got.numpy() != wanted).sum())
    assert differing == 0, f"{differing} of {wanted.size} values differ"


@WAYS
def test_no_images(way):
    assert way(torch.zeros(0, 5, 6, 3, dtype=torch.uint8), (7, 8)).shape == (0, 7, 8, 3)


@WAYS
@steady(100)
@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
@example(1, 1, 300, 300, 0)
@example(300, 300, 1, 1, 0)
@example(1, 299, 7, 31, 0)
@example(299, 1, 31, 7, 0)
@example(200, 160, 100, 80, 0)
@example(100, 80, 200, 160, 0)
@example(123, 77, 123, 77, 0)
def test_equals_opencv_bit_for_bit(way, height: int, width: int, new_h: int, new_w: int, seed: int):
    images = noise(1, height, width, 3, seed=seed)
    assert_equal(way(torch.from_numpy(images), (new_h, new_w)), expected(images, (new_h, new_w)))


@WAYS
@steady(20)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 2**32 - 1))
def test_exactly_half_the_size(way, height: int, width: int, seed: int):
    images = noise(2, 2 * height, 2 * width, 3, seed=seed)
    assert_equal(way(torch.from_numpy(images), (height, width)), expected(images, (height, width)))


@WAYS
@pytest.mark.parametrize("size_hw", [(40, 64), (1, 640), (640, 1)])
def test_long_strips(way, size_hw: tuple[int, int]):
    for shape in ((1, 16000, 3, 3), (1, 3, 16000, 3)):
        images = noise(*shape)
        assert_equal(way(torch.from_numpy(images), size_hw), expected(images, size_hw))


@WAYS
@pytest.mark.parametrize(
    "view",
    [
        lambda pixels: pixels[..., :1].expand(-1, -1, -1, 3),
        lambda pixels: pixels[..., :3],
        lambda pixels: pixels[..., :3].flip(-1),
        lambda pixels: pixels[:, 3:40, 5:50, :3],
        lambda pixels: pixels[:, ::2, ::3, 1:],
        lambda pixels: pixels[::2, ..., :3],
        lambda pixels: pixels[..., :3].permute(0, 2, 1, 3),
    ],
    ids=["grey", "no alpha", "flipped", "crop", "every other pixel", "every other image", "turned"],
)
def test_views_of_other_memory(way, view):
    pixels = view(torch.from_numpy(noise(3, 48, 64, 4)))
    before = pixels.clone()
    for size_hw in ((31, 90), (24, 32)):
        assert_equal(way(pixels, size_hw), expected(pixels.numpy(), size_hw))
    assert torch.equal(pixels, before)


def test_works_without_opencv(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixels, "opencv_is_there", lambda: False)
    monkeypatch.setattr(pixels, "_resize_by_opencv", None)
    images = noise(2, 33, 44, 3)
    assert_equal(into_a_canvas(torch.from_numpy(images), (50, 20)), expected(images, (50, 20)))
