from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fastface.utils.images import ImageBatch, Images
from fastface.utils.letterbox import Canvas, fitted_size, letterbox, stretch
from tests.utils.properties import steady
from tests.utils.upstream_scrfd import upstream_scrfd

cv2 = pytest.importorskip("cv2")
pytest.importorskip("insightface")

#: Input sizes (width, height) that the shrink loops of InstantID, IPAdapter and PuLID go through,
#: and others that are no square.
SIZES_WH = [(size, size) for size in range(640, 255, -64)] + [(640, 384), (320, 448), (128, 128)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def drawn(batch: ImageBatch, size_wh: tuple[int, int]) -> tuple[ImageBatch, float]:
    """Images on their whole canvases, and the scale they have there."""
    canvas = Canvas.fitting(batch.size_hw, size_wh)
    return letterbox(batch, canvas), canvas.scale


def upstream_canvas(image: np.ndarray, size_wh: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The canvas `[h,w,3]` BGR that SCRFD of insightface makes, and the scale it divides by."""
    detector: Any = upstream_scrfd([np.zeros((1, 1), np.float32)] * 9)
    seen: list[np.ndarray] = []

    def forward(canvas: np.ndarray, threshold: float) -> tuple[list, list, list]:
        seen.append(canvas)
        one = np.ones
        return [one((1, 1))], [one((1, 4))], [one((1, 5, 2))]

    detector.forward = forward
    found, _ = detector._detect_candidates(image, size_wh, 0.5)
    return seen[0], 1 / float(found[0, 0])


def assert_like_upstream(image: np.ndarray, size_wh: tuple[int, int]) -> None:
    (batch,) = Images.from_bgr(image).chunks()
    canvas, scale = drawn(batch, size_wh)
    wanted, wanted_scale = upstream_canvas(image, size_wh)
    assert canvas.pixels.shape == (1, *wanted.shape) and canvas.pixels.dtype == torch.uint8
    assert (canvas.pixels[0].numpy() == wanted).all() and canvas.bgr
    assert scale == pytest.approx(wanted_scale, rel=1e-6)


def test_no_images():
    (batch,) = Images.from_comfy(torch.zeros(1, 20, 30, 3)).chunks()
    canvas, scale = drawn(type(batch)(batch.pixels[:0], (), False), (64, 64))
    assert canvas.pixels.shape == (0, 64, 64, 3) and scale == 42 / 20


@steady(60)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from(SIZES_WH),
    st.integers(0, 2**32 - 1),
)
@example(640, 640, (640, 640), 0)
@example(1280, 960, (640, 640), 0)
@example(1, 1, (640, 640), 0)
def test_equals_insightface(height: int, width: int, size_wh: tuple[int, int], seed: int):
    # Insightface itself stops with an error where a side would shrink to nothing.
    assume(min(size_wh[0] * height // width, size_wh[1] * width // height) >= 1)
    assert_like_upstream(noise(height, width, 3, seed=seed), size_wh)


@steady(300)
@given(st.integers(1, 16000), st.integers(1, 16000), st.sampled_from(SIZES_WH))
def test_fitted_size_truncates_like_insightface(height: int, width: int, size_wh: tuple[int, int]):
    fitted: list[tuple[int, int]] = []

    class Stop(Exception):
        pass

    def resize(image: np.ndarray, size: tuple[int, int]) -> None:
        fitted.append((size[1], size[0]))
        raise Stop

    image = np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(cv2, "resize", resize)
        upstream_canvas(image, size_wh)
    assert fitted_size((height, width), size_wh) == tuple(max(1, side) for side in fitted[0])


@pytest.mark.parametrize("shape", [(16000, 1, 3), (1, 16000, 3), (16000, 20, 3), (9, 16000, 3)])
def test_strips_thinner_than_a_pixel_are_kept(shape: tuple[int, int, int]):
    (batch,) = Images.from_bgr(np.full(shape, 255, np.uint8)).chunks()
    canvas, scale = drawn(batch, (640, 640))
    assert canvas.size_hw == (640, 640) and scale > 0
    lit = (canvas.pixels[0, ..., 0] > 0).nonzero()
    assert sorted(int(side) for side in lit.amax(0)) == [0, 639] and canvas.pixels.max() == 255


@pytest.mark.parametrize(
    "size_wh, canvas_hw", [((600, 500), (512, 608)), ((33, 64), (64, 64)), ((640, 640), (640, 640))]
)
def test_canvas_is_padded_to_whole_strides(size_wh: tuple[int, int], canvas_hw: tuple[int, int]):
    image = noise(50, 60, 3)
    (batch,) = Images.from_bgr(image).chunks()
    canvas, _ = drawn(batch, size_wh)
    wanted, _ = upstream_canvas(image, size_wh)
    assert canvas.size_hw == canvas_hw
    inside = canvas.pixels[0, : size_wh[1], : size_wh[0]]
    assert (inside.numpy() == wanted).all()
    assert canvas.pixels.count_nonzero() == inside.count_nonzero()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_rgb_tensors_give_the_canvas_of_the_same_bgr_image(dtype: torch.dtype):
    images = noise(3, 45, 70, 3)
    rgb = torch.from_numpy(images[..., ::-1].copy())
    (batch,) = Images.from_comfy(
        rgb if dtype == torch.uint8 else (rgb.double() / 255).to(dtype)
    ).chunks()
    canvases, scale = drawn(batch, (64, 96))
    assert scale == 41 / 45
    for image, canvas in zip(images, canvases.pixels, strict=True):
        (single,) = Images.from_bgr(image).chunks()
        assert torch.equal(drawn(single, (64, 96))[0].pixels[0], canvas.flip(-1))


@pytest.mark.parametrize("size_hw", [(90, 150), (150, 90)])
def test_a_part_is_the_upper_left_of_the_whole(size_hw: tuple[int, int]):
    (batch,) = Images.from_bgr(noise(*size_hw, 3)).chunks()
    canvas = Canvas.fitting(size_hw, (128, 128))
    whole = letterbox(batch, canvas).pixels
    height, width = canvas.filled_hw
    for part_hw in ((height, width), (min(128, height + 3), width), (128, width), (height, 128)):
        part = letterbox(batch, canvas, part_hw).pixels
        assert part.shape == (1, *part_hw, 3)
        assert torch.equal(part, whole[:, : part_hw[0], : part_hw[1]])
    assert whole[:, height:].count_nonzero() == whole[:, :, width:].count_nonzero() == 0


def test_stretch_takes_any_shape():
    image = noise(45, 70, 3)
    (batch,) = Images.from_bgr(image).chunks()
    stretched = stretch(batch, (30, 20)).pixels[0].numpy()
    assert (stretched == cv2.resize(image, (20, 30))).all()
