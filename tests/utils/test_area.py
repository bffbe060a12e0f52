"""Means over areas, from sums: held against torch's own area interpolation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastface.utils import area
from fastface.utils.area import area_crops, area_resize, summed_area_table

SIZES = [(1, 1), (7, 5), (24, 24), (31, 64), (97, 131), (5, 300)]


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.fixture(params=["opencv", "torch"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(area, "opencv_is_there", lambda: False)
    else:
        pytest.importorskip("cv2")
    return request.param


def test_the_table_holds_the_sums_above_and_left():
    pixels = noise(2, 9, 11, 3)
    table = summed_area_table(pixels)
    assert table.shape == (2, 10, 12, 3) and table.dtype == torch.int32
    for y, x in [(0, 0), (0, 5), (4, 0), (1, 1), (9, 11), (3, 7)]:
        assert torch.equal(table[:, y, x], pixels[:, :y, :x].sum((1, 2), dtype=torch.int32))


def test_no_images_have_a_table_too():
    assert summed_area_table(noise(0, 4, 5, 3)).shape == (0, 5, 6, 3)


@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize("target", SIZES)
def test_a_level_is_torchs_area_interpolation(source: tuple[int, int], target: tuple[int, int]):
    pixels = noise(2, *source, 3)
    expected = interpolate(pixels.permute(0, 3, 1, 2).float(), size=target, mode="area")
    table = summed_area_table(pixels)
    torch.testing.assert_close(area_resize(table, target), expected, atol=1e-4, rtol=0)
    middle = target[0] // 2
    parts = [area_resize(table, target, rows) for rows in ((0, middle), (middle, target[0]))]
    torch.testing.assert_close(torch.cat(parts, 2), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1, 24, 48, 160])
def test_crops_are_torchs_area_interpolation_of_each(size: int):
    pixels = noise(3, 67, 90, 3)
    corners = torch.tensor(
        [[0, 0, 90, 67], [3, 4, 4, 5], [10, 20, 33, 67], [89, 0, 90, 67], [0, 30, 24, 54]]
    )
    image = torch.tensor([2, 0, 1, 1, 2])
    crops = area_crops(summed_area_table(pixels), image, corners, size)
    assert crops.shape == (5, 3, size, size) and crops.dtype == torch.float32
    for crop, index, (left, top, right, bottom) in zip(
        crops, image.tolist(), corners.tolist(), strict=True
    ):
        cut = pixels[index, top:bottom, left:right].permute(2, 0, 1)[None].float()
        expected = interpolate(cut, size=(size, size), mode="area")[0]
        torch.testing.assert_close(crop, expected, atol=1e-4, rtol=0)


def test_no_crops_are_crops_too():
    none = torch.zeros(0, 4, dtype=torch.int64)
    crops = area_crops(summed_area_table(noise(1, 9, 9, 3)), none[:, 0], none, 24)
    assert crops.shape == (0, 3, 24, 24)


def test_sums_beyond_32_bits_cancel_out():
    table = summed_area_table(torch.full((1, 3000, 3000, 1), 255, dtype=torch.uint8))
    assert table[0, -1, -1, 0].item() != 255 * 3000 * 3000
    assert area_resize(table, (40, 30)).unique().tolist() == [255.0]
    corner = torch.tensor([[2900, 2900, 3000, 3000]])
    assert area_crops(table, torch.tensor([0]), corner, 24).unique().tolist() == [255.0]
