"""Crops that were cut ahead are those that the networks would have seen, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.crop_spec import CropSpec, PrecomputedCrops, bytes_of_crops
from fastface.utils.errors import ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import Images

CPU = torch.device("cpu")
VIEWS = (CropSpec(112), CropSpec(128), CropSpec(192, 1.5), CropSpec(96, 1.5), CropSpec(64, 2.0))


def faces_at_random(count: int, size_hw: tuple[int, int], seed: int) -> Faces:
    """Boxes anywhere, also beyond the border, with landmarks turned at random."""
    random = torch.Generator().manual_seed(seed)
    height, width = size_hw
    centres = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
    sides = 10 + torch.rand(count, 2, generator=random) * 150
    template = torch.tensor([[-1.0, -1], [1, -1], [0, 0], [-0.7, 1], [0.7, 1]])
    angles = torch.rand(count, generator=random) * 6.3
    turn = torch.stack((angles.cos(), -angles.sin(), angles.sin(), angles.cos()), 1)
    landmarks = template @ turn.view(-1, 2, 2) * sides[:, None, :1] / 4 + centres[:, None]
    return Faces(
        boxes=torch.cat((centres - sides / 2, centres + sides / 2), 1),
        scores=torch.ones(count),
        image_index=torch.zeros(count, dtype=torch.int64),
        image_sizes=(size_hw,),
        landmarks=landmarks + torch.randn(count, 5, 2, generator=random),
    )


def photo(size_hw: tuple[int, int], seed: int) -> Images:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return Images.from_bgr(pixels)


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_any_faces_in_any_order_are_cut_as_from_the_image(view: CropSpec, seed: int):
    images, faces = photo((211, 337), seed), faces_at_random(13, (211, 337), seed)
    kept = PrecomputedCrops(images, faces, VIEWS)
    for rows in (list(range(13)), [0], [12], [7, 3], [5, 5, 0], list(range(12, -1, -1))):
        some = faces[rows]
        matrices = view.matrices(some, CPU)
        expected = view.crop(images, some, matrices)
        got = view.crop(kept, some, matrices)
        assert torch.equal(got.pixels, expected.pixels)
        assert got.bgr == expected.bgr and got.positions == expected.positions


def test_it_is_as_light_as_it_says():
    images, faces = photo((500, 500), 0), faces_at_random(5, (500, 500), 0)
    kept = PrecomputedCrops(images, faces, VIEWS)
    assert sum(crops.nbytes for crops in kept._crops.values()) == bytes_of_crops(5, VIEWS)
    assert not isinstance(kept, Images)  # it has no pixels to walk over


def test_without_landmarks_only_squares_can_be_cut():
    images = photo((100, 100), 0)
    faces = faces_at_random(3, (100, 100), 0).with_fields(landmarks=None)
    square, aligned = CropSpec(96, 1.5), CropSpec(112)
    kept = PrecomputedCrops(images, faces, [square])
    matrices = square.matrices(faces, CPU)
    cut = square.crop(images, faces, matrices).pixels
    assert torch.equal(square.crop(kept, faces, matrices).pixels, cut)
    with pytest.raises(ModelError, match="gives no landmarks"):
        aligned.matrices(faces, CPU)
