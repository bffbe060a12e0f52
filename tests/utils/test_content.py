"""Content makes the key; memory layout and identity do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.content import image_key, images_key
from fastface.utils.images import Images


class TestImageKey:
    def test_content_and_shape_make_the_key(self):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        keys = [image_key(image), image_key(image.reshape(4, 2, 3)), image_key(image[::-1])]
        other = image.copy()
        other[1, 3, 2] ^= 1
        keys.append(image_key(other))
        assert len(set(keys)) == 4 and all(len(key) == 16 for key in keys)

    @pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[:, ::-1][:, ::-1]])
    def test_memory_layout_does_not(self, layout):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        assert image_key(layout(image)) == image_key(image)

    def test_no_two_of_many_images_that_differ_in_one_bit_share_a_key(self):
        image = np.zeros((16, 16, 3), np.uint8)
        keys = set()
        for place in range(image.size):
            for bit in range(8):
                image.reshape(-1)[place] ^= 1 << bit
                keys.add(image_key(image))
                image.reshape(-1)[place] ^= 1 << bit
        assert len(keys) == image.size * 8


def key(*tensors: torch.Tensor) -> bytes | None:
    return images_key(Images.from_comfy(list(tensors)))


class TestImagesKey:
    def test_the_same_pixels_in_other_memory(self):
        images = torch.rand(2, 4, 6, 3)
        assert key(images) == key(images.clone()) is not None
        assert key(images[1:]) == key(images[1:].clone()) != key(images[:1])

    def test_every_difference_counts(self):
        images = torch.rand(2, 4, 6, 3)
        other = images.clone()
        other[1, 3, 5, 2] += 1e-3
        variants = [
            key(images),
            key(other),
            key(images.reshape(2, 6, 4, 3)),
            key(*images.split(1)),
            key(images.double()),
            key(torch.zeros(1, 2, 2, 3)),
            key(torch.zeros(1, 2, 2, 3).int().to(torch.uint8)),
            key(),
        ]
        assert len(set(variants)) == len(variants)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
    def test_every_type_of_an_image(self, dtype: torch.dtype):
        images = torch.rand(1, 4, 6, 3).mul(255 if dtype == torch.uint8 else 1).to(dtype)
        assert key(images) == key(images.clone()) is not None

    def test_channel_order_counts(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        rgb = Images.from_comfy(torch.from_numpy(pixels)[None])
        assert images_key(Images.from_bgr(pixels)) != images_key(rgb)

    def test_no_key_where_it_would_cost_a_copy_or_a_transfer(self):
        assert key(torch.rand(1, 4, 6, 4)) is None  # alpha
        assert key(torch.empty(1, 4, 6, 3, device="meta")) is None
