"""Content makes the key; memory layout and identity do not."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash

from fastface.utils.content import faces_key, image_key, images_key
from fastface.utils.faces import Faces
from fastface.utils.images import Images


@pytest.mark.parametrize("count", [0, 1, 2])
def test_faces_have_a_key_however_they_lie_in_memory(count: int):
    rows = torch.arange(5.0 * count).reshape(count, 5)
    index = torch.zeros(count, dtype=torch.int64)
    views = Faces(rows[:, :4], rows[:, 4], index, ((8, 8),))
    copies = Faces(rows[:, :4].clone(), rows[:, 4].clone().contiguous(), index, ((8, 8),))
    assert faces_key(views) == faces_key(copies) == faces_key(views.clone())


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
        assert images_key(Images([torch.empty(1, 4, 6, 3, device="meta")], bgr=False)) is None


class TestFacesKey:
    def test_one_face_of_every_other(self):
        """A single number keeps the step of the slice it was taken from."""
        faces = Faces(
            boxes=torch.rand(1, 4),
            scores=torch.tensor([0.9]),
            image_index=torch.zeros(1, dtype=torch.int64),
            image_sizes=((8, 8),),
        )
        assert faces_key(faces[::2]) == faces_key(faces) != faces_key(faces[:0])


#: What XXH3 mixes into every block of 1,024 bytes when it has no seed: words of 64 bits.
_XXH3_CONSTANTS = struct.unpack(
    "<24Q",
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
)


def images_of_one_xxh3() -> tuple[np.ndarray, np.ndarray]:
    """Two images of which half the bytes differ, and that XXH3 without a seed can't tell apart."""
    numbers = random.Random(0)
    first = bytearray(numbers.randbytes(48 * 64 * 3))
    second = bytearray(first)
    for block in range(0, len(first) - 1024, 1024):
        for stripe in (0, 1, 4, 5, 8, 9, 12, 13):
            for lane in range(8):
                here, there = block + 64 * stripe + 8 * lane, block + 64 * (stripe + 2) + 8 * lane
                change = _XXH3_CONSTANTS[stripe + lane] ^ _XXH3_CONSTANTS[stripe + 2 + lane]
                word = numbers.getrandbits(64)
                other = word ^ 0xFFFF_FFFF_FFFF_FFFF  # their sum stays what it is
                for content, values in (
                    (first, (word, other)),
                    (second, (other ^ change, word ^ change)),
                ):
                    struct.pack_into("<Q", content, here, values[0])
                    struct.pack_into("<Q", content, there, values[1])
    shape = (48, 64, 3)
    return tuple(np.frombuffer(bytes(each), np.uint8).reshape(shape) for each in (first, second))  # type: ignore[return-value]


class TestImagesMadeToShareAKey:
    def test_there_are_such_for_the_hash_without_a_seed(self):
        first, second = images_of_one_xxh3()
        assert (first != second).mean() > 0.8
        assert xxhash.xxh3_128_digest(first.data) == xxhash.xxh3_128_digest(second.data)

    def test_here_they_have_two_keys(self):
        first, second = images_of_one_xxh3()
        assert image_key(first) != image_key(second)
        assert images_key(Images.from_bgr(first)) != images_key(Images.from_bgr(second))

    def test_a_key_of_one_process_is_none_of_another(self):
        program = (
            "from install import import_pack; import_pack('fastface'); import numpy as np\n"
            "from fastface.utils.content import image_key\n"
            "print(image_key(np.zeros((2, 2, 3), np.uint8)).hex())"
        )
        root = Path(__file__).parents[2]
        keys = {
            subprocess.run(
                [sys.executable, "-c", program], cwd=root, capture_output=True, check=True
            ).stdout
            for _ in range(2)
        }
        assert len(keys) == 2 and b"" not in keys
