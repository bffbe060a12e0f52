from __future__ import annotations

import logging
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.utils.errors import InvalidInput
from fastface.utils.images import ImageBatch, Images, check_values

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def ramp(*shape: int) -> Tensor:
    """uint8 pixels that all differ from their neighbours."""
    count = int(np.prod(shape))
    return (torch.arange(count) * 37 % 256).to(torch.uint8).reshape(shape)


def check(images: Images) -> None:
    """What the analyzer does with all values at the end of a batch."""
    found = [(batch, batch.extremes()) for batch in images.chunks()]
    check_values([(batch, *limits.tolist()) for batch, limits in found if limits is not None])


def only(images: Images) -> ImageBatch:
    (batch,) = images.chunks()
    return batch


# What is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 64, 48, 3), (0, 64, 48, 1), (0, 0, 0, 3)])
def test_an_empty_batch_is_no_images(shape: tuple[int, ...]):
    images = Images.from_comfy(torch.zeros(shape))
    assert len(images) == 0 and images.sizes_hw == () and list(images.chunks()) == []
    check(images)


def test_no_sources_at_all():
    images = Images.from_comfy([])
    assert len(images) == 0 and not list(images.chunks())
    check(images)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 7, 3), (1, 16000, 2, 3), (1, 2, 16000, 3)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_and_channels(shape: tuple[int, ...], channels: int):
    pixels = ramp(*shape[:3], channels)
    images = Images.from_comfy(pixels)
    assert images.sizes_hw == (shape[1:3],) * shape[0] and len(images) == shape[0]
    batch = only(images)
    assert batch.pixels.shape == (*shape[:3], 3) and batch.size_hw == shape[1:3] and not batch.bgr
    for channel in range(3):
        assert torch.equal(batch.pixels[..., channel], pixels[..., min(channel, channels - 1)])


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_stand_for_8_bits(dtype: torch.dtype):
    pixels = torch.arange(256).reshape(1, 16, 16, 1)
    batch = only(Images.from_comfy((pixels.double() / 255).to(dtype)))
    assert batch.pixels.dtype == dtype
    got = batch.to_uint8()
    assert got.dtype == torch.uint8 and got.shape == (1, 16, 16, 3)
    # bfloat16 has 8 bits of precision: too few for every one of 256 levels.
    tolerance = 1 if dtype == torch.bfloat16 else 0
    assert (got.int() - pixels).abs().max() <= tolerance


def test_uint8_is_taken_as_it_is():
    pixels = ramp(2, 5, 6, 3)
    batch = only(Images.from_comfy(pixels))
    assert batch.to_uint8().data_ptr() == pixels.data_ptr() and batch.extremes() is None


def test_a_tensor_that_needs_gradients_is_taken():
    batch = only(Images.from_comfy(torch.full((1, 4, 4, 3), 0.5, requires_grad=True)))
    assert not batch.pixels.requires_grad and batch.to_uint8().unique().tolist() == [128]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_different_sizes(kind: type):
    sources = kind([torch.zeros(2, 4, 5, 3), ramp(1, 7, 3, 4), torch.zeros(0, 9, 9, 3)])
    images = Images.from_comfy(sources)
    assert images.sizes_hw == ((4, 5), (4, 5), (7, 3))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
def test_numpy_images(shape: tuple[int, ...]):
    image = ramp(*shape).numpy()
    images = Images.from_bgr(image)
    batch = only(images)
    assert batch.bgr and batch.pixels.shape == (1, *shape[:2], 3) and len(images) == 1
    expected = image[..., :3] if image.ndim == 3 else image[..., None]
    assert (batch.pixels[0].numpy() == expected).all()


def test_numpy_views_are_taken_without_a_warning():
    image = ramp(6, 8, 3).numpy()
    read_only = image.copy()
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flipped = image[:1][::-1]  # in order to numpy, and with a negative stride all the same
        assert flipped.flags.c_contiguous and flipped.strides[0] < 0
        for view in (
            flipped,
            image[:, :1][:, ::-1],
            image[::-1],
            image[:, ::-1, ::-1],
            image[1:4, 2:5],
            np.asfortranarray(image),
        ):
            assert (only(Images.from_bgr(view)).pixels[0].numpy() == view).all()
        assert (only(Images.from_bgr(read_only)).pixels[0].numpy() == image).all()


def test_a_numpy_image_is_not_copied():
    image = ramp(6, 8, 3).numpy()
    assert only(Images.from_bgr(image)).pixels.data_ptr() == image.ctypes.data


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "images, message",
    [
        (None, "got NoneType, expected an IMAGE tensor"),
        (7, "got int, expected an IMAGE tensor"),
        ({"samples": torch.zeros(1, 4, 8, 8)}, "got dict, expected an IMAGE tensor"),
        (np.zeros((1, 8, 8, 3), np.float32), "got ndarray, expected an IMAGE tensor"),
        ([torch.zeros(1, 8, 8, 3), None], "got NoneType, expected an IMAGE tensor"),
        (torch.zeros(2, 64, 64), "shape (2, 64, 64), expected [B,H,W,C]; this looks like a MASK"),
        (torch.zeros(64, 64, 3), "this looks like one image [H,W,C]: add a batch axis"),
        (torch.zeros(64), "got a tensor of shape (64,), expected [B,H,W,C]"),
        (torch.zeros(1, 2, 3, 64, 3), "shape (1, 2, 3, 64, 3), expected [B,H,W,C]"),
        (torch.zeros(1, 64, 64, 2), "got 2 channels, expected 1, 3 or 4 in the last axis"),
        (torch.zeros(1, 64, 64, 0), "got 0 channels, expected 1, 3 or 4"),
        (torch.zeros(1, 3, 64, 64), "this looks like [B,C,H,W]: use images.permute(0, 2, 3, 1)"),
        (torch.zeros(0, 3, 64, 64), "this looks like [B,C,H,W]: use images.permute(0, 2, 3, 1)"),
        (torch.zeros(2, 0, 64, 3), "got images of 64 x 0 pixels, expected at least 1 x 1"),
        (torch.zeros(2, 64, 0, 3), "got images of 0 x 64 pixels, expected at least 1 x 1"),
        (torch.zeros(1, 8, 8, 3).long(), "got images of dtype torch.int64, expected a floating"),
        (torch.zeros(1, 8, 8, 3).bool(), "got images of dtype torch.bool, expected a floating"),
    ],
)
def test_refuses_what_is_no_image(images: Any, message: str):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        Images.from_comfy(images)


@pytest.mark.parametrize(
    "image, message",
    [
        (None, "got NoneType, expected a BGR uint8 numpy image; the file was probably not found"),
        (torch.zeros(8, 8, 3), "got Tensor, expected a BGR uint8 numpy image"),
        (np.zeros((8, 8, 3), np.float32), "dtype float32, expected uint8 0..255; convert it with"),
        (np.zeros((8, 8, 3), np.int64), "dtype int64, expected uint8 0..255"),
        (np.zeros((8, 8, 2), np.uint8), "shape (8, 8, 2), expected [height, width, 3] BGR"),
        (np.zeros((1, 8, 8, 3), np.uint8), "shape (1, 8, 8, 3), expected [height, width, 3] BGR"),
        (np.zeros(8, np.uint8), "shape (8,), expected [height, width, 3] BGR"),
        (np.zeros((0, 8, 3), np.uint8), "shape (0, 8, 3), expected [height, width, 3] BGR"),
        (np.zeros((0, 0), np.uint8), "expected [height, width, 3] BGR"),
    ],
)
def test_refuses_what_is_no_numpy_image(image: Any, message: str):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        Images.from_bgr(image)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_refuses_nan_and_infinity_and_names_the_image(bad: float, dtype: torch.dtype):
    sources = [torch.full((1, 4, side, 3), 0.5, dtype=dtype) for side in (4, 5, 6)]
    sources[1][0, 2, 3, 1] = bad
    with pytest.raises(InvalidInput, match="got NaN or infinite values in image 1; find the node"):
        check(Images.from_comfy(sources))


def test_alpha_may_hold_anything():
    pixels = torch.rand(1, 4, 4, 4)
    pixels[..., 3] = float("nan")
    check(Images.from_comfy(pixels))


@pytest.mark.parametrize("scale", [255.0, -255.0, 65000.0])
def test_refuses_values_far_from_0_to_1(scale: float):
    images = torch.rand(3, 4, 4, 3) * scale
    with pytest.raises(InvalidInput, match=r"one of the images 0, 1, 2, expected 0\.\.1; divide 0"):
        check(Images.from_comfy(images))


def test_values_a_little_outside_are_clamped_with_one_warning(caplog: pytest.LogCaptureFixture):
    pixels = torch.linspace(-0.5, 1.5, 40 * 16).reshape(40, 4, 4, 1)
    images = Images.from_comfy(pixels)
    with caplog.at_level(logging.WARNING, "FastFace"):
        check(images)
    assert [record.getMessage() for record in caplog.records] == [
        "got images with values from -0.5 to 1.5; clamped to 0..1"
    ]
    got = torch.cat([batch.to_uint8() for batch in images.chunks()])
    expected = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(got, expected.expand(-1, -1, -1, 3))


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_from_0_to_1_are_not_worth_a_word(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG, "FastFace"):
        check(Images.from_comfy(torch.tensor([0.0, 1.0] * 6, dtype=dtype).reshape(1, 2, 2, 3)))
    assert not caplog.records


# How they are handed out --------------------------------------------------------------------------


def test_chunks_are_views_in_order():
    pixels = ramp(5, 4, 6, 3)
    batches = list(Images.from_comfy(pixels).chunks(max_images=2))
    assert [batch.positions for batch in batches] == [(0, 1), (2, 3), (4,)]
    for batch in batches:
        assert batch.pixels.data_ptr() == pixels[batch.positions[0]].data_ptr()
        assert torch.equal(batch.pixels, pixels[list(batch.positions)])


@pytest.mark.parametrize("channels", [1, 4])
def test_chunks_of_other_channels_are_views_too(channels: int):
    pixels = ramp(3, 4, 6, channels)
    batch = only(Images.from_comfy(pixels))
    assert batch.pixels.untyped_storage().data_ptr() == pixels.untyped_storage().data_ptr()


def test_sizes_and_dtypes_are_grouped():
    sources = [
        ramp(1, 4, 6, 3),
        ramp(2, 5, 5, 3),
        ramp(0, 4, 6, 3),
        ramp(2, 4, 6, 3),
        ramp(1, 4, 6, 3).float() / 255,
        ramp(1, 5, 5, 4),
    ]
    images = Images.from_comfy(sources)
    batches = list(images.chunks())
    assert [batch.positions for batch in batches] == [(0, 3, 4), (1, 2, 6), (5,)]
    singles = [image[..., :3] for source in sources for image in source]
    for batch in batches:
        assert {images.sizes_hw[position] for position in batch.positions} == {batch.size_hw}
        for position, pixels in zip(batch.positions, batch.pixels, strict=True):
            assert torch.equal(pixels, singles[position])


@pytest.mark.parametrize(
    "max_images, max_bytes, expected",
    [
        (16, 1 << 20, [7]),
        (3, 1 << 20, [3, 3, 1]),
        (16, 4 * 6 * 3 * 2, [2, 2, 2, 1]),
        (16, 4 * 6 * 3 * 2 - 1, [1] * 7),
        (16, 1, [1] * 7),
    ],
)
def test_chunks_keep_to_the_budget(max_images: int, max_bytes: int, expected: list[int]):
    # The empty source comes first: it has the size of the others, but no bytes to count.
    images = Images.from_comfy([ramp(0, 4, 6, 3), ramp(7, 4, 6, 3)])
    batches = list(images.chunks(max_images, max_bytes))
    assert [len(batch.positions) for batch in batches] == expected
    assert [place for batch in batches for place in batch.positions] == list(range(7))


@pytest.mark.parametrize(
    "max_images, expected",
    [(2, [(0, 1), (2, 3), (4, 5)]), (4, [(0, 1, 2, 3), (4, 5)]), (16, [(0, 1, 2, 3, 4, 5)])],
)
def test_chunks_are_filled_from_several_sources(max_images: int, expected: list[tuple[int, ...]]):
    pixels = ramp(6, 4, 6, 3)
    images = Images.from_comfy([pixels[:1], pixels[1:4], pixels[4:]])
    batches = list(images.chunks(max_images))
    assert [batch.positions for batch in batches] == expected
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), pixels)


@pytest.mark.parametrize(
    "wanted, expected",
    [
        (None, [(0, 1), (2, 3), (4,), (5,)]),
        ((), []),
        ({4}, [(4,)]),
        ([3, 5], [(2, 3), (5,)]),
        ({99}, []),
    ],
)
def test_chunks_of_wanted_images(wanted: Any, expected: list[tuple[int, ...]]):
    images = Images.from_comfy([ramp(5, 4, 6, 3), ramp(1, 2, 2, 3)])
    assert [b.positions for b in images.chunks(max_images=2, wanted=wanted)] == expected


def test_to_keeps_what_a_batch_is():
    batch = only(Images.from_bgr(ramp(4, 6, 3).numpy())).to(torch.device("meta"))
    assert batch.pixels.device.type == "meta" and batch.positions == (0,) and batch.bgr


@pytest.mark.parametrize(
    "images",
    [torch.rand(1, 4, 6, 3).to_sparse(), torch.empty(1, 4, 6, 3, device="meta")],
    ids=["sparse", "meta"],
)
def test_tensors_without_pixels_are_refused(images: torch.Tensor):
    with pytest.raises(InvalidInput, match="expected an ordinary IMAGE tensor"):
        Images.from_comfy(images)
