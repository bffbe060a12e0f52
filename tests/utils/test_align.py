from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fastface.utils import align
from fastface.utils.align import (
    apply_affine,
    arcface_template,
    centred_square,
    crop_faces,
    invert_affine,
    similarity_transform,
    warp,
)
from fastface.utils.errors import InvalidInput
from fastface.utils.images import ImageBatch, Images
from tests.utils.properties import steady

cv2 = pytest.importorskip("cv2")
pytest.importorskip("insightface")
from insightface.utils import face_align  # noqa: E402  only where it is installed

SIZES = [112, 128, 224, 256, 512]


@pytest.fixture(params=["opencv", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of cutting crops on the CPU: with OpenCV and where it is not installed."""
    if request.param == "torch":
        monkeypatch.setattr(align, "opencv_is_there", lambda: False)
    return request.param


@pytest.fixture
def as_opencv(way: str) -> None:
    """Both ways, as far as the OpenCV that is installed is as exact as they are."""
    if way == "torch" and int(cv2.__version__.split(".")[0]) < 5:
        pytest.skip("OpenCV 4 interpolates in steps of 1/32 pixel")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """`[180,240,3]` uint8 BGR: smooth gradients with noise on top, as in a photo."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    noise = random.integers(-12, 13, (180, 240, 3))
    return np.clip(cv2.resize(coarse, (240, 180)) + noise, 0, 255).astype(np.uint8)


def batch_of(image: np.ndarray) -> ImageBatch:
    (batch,) = Images.from_bgr(image).chunks()
    return batch


def warped(image: np.ndarray, matrix: Tensor, size: int) -> np.ndarray:
    """One crop `[size,size,3]` BGR."""
    crops = warp(batch_of(image), torch.zeros(1, dtype=torch.int64), matrix[None], size)
    assert crops.shape == (1, size, size, 3) and crops.dtype == torch.uint8
    return crops[0].numpy().astype(np.float32)


def assert_same_picture(got: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(got - expected.astype(np.float32))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


# Similarity transforms ----------------------------------------------------------------------------


@st.composite
def five_points(draw: st.DrawFn) -> np.ndarray:
    """Landmarks `[5,2]`: ArcFace's, moved, turned, scaled, mirrored, and each shifted a little."""
    angle = np.deg2rad(draw(st.floats(-180, 180)))
    scale = draw(st.sampled_from([0.02, 0.3, 1.0, 4.0, 40.0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = arcface_template(112).numpy() @ turn.T * scale
    if draw(st.booleans()):
        points[:, 0] *= -1
    seed, jitter = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.0, 3.0, 30.0]))
    points += np.random.default_rng(seed).normal(0, jitter * scale, (5, 2))
    move = [draw(st.floats(-3000, 3000)), draw(st.floats(-3000, 3000))]
    return (points + move).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@steady(40)
@given(st.lists(five_points(), min_size=1, max_size=3))
def test_same_transform_as_insightface(size: int, faces: list[np.ndarray]):
    landmarks = torch.from_numpy(np.stack(faces))
    matrices = similarity_transform(landmarks, arcface_template(size))
    assert matrices.shape == (len(faces), 2, 3) and matrices.dtype == torch.float64
    for points, matrix in zip(faces, matrices.numpy(), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls an old name
            expected = face_align.estimate_norm(points, size)
        # What counts is where points land: insightface computes in float32, to seven digits.
        ours, theirs = (points @ m[:, :2].T + m[:, 2] for m in (matrix, expected))
        extent = np.abs(points).max() * np.abs(expected[:, :2]).max() + size
        np.testing.assert_allclose(ours, theirs, atol=extent * 1e-6)


def test_each_face_its_own_target():
    points = torch.from_numpy(np.random.default_rng(0).normal(200, 50, (3, 5, 2)))
    targets = torch.stack([arcface_template(size) + 10 * size for size in (112, 128, 224)])
    together = similarity_transform(points, targets)
    for place, target in enumerate(targets):
        (alone,) = similarity_transform(points[place : place + 1], target)
        torch.testing.assert_close(together[place], alone)


def test_no_faces():
    matrices = similarity_transform(torch.zeros(0, 5, 2), arcface_template(112))
    assert matrices.shape == (0, 2, 3) and invert_affine(matrices).shape == (0, 2, 3)
    assert centred_square(torch.zeros(0, 4), 96).shape == (0, 2, 3)
    images = Images.from_comfy(torch.zeros(1, 8, 8, 3))
    assert crop_faces(images, [], matrices, 112).pixels.shape == (0, 112, 112, 3)
    nothing = Images.from_comfy(torch.zeros(0, 8, 8, 3))
    assert crop_faces(nothing, [], matrices, 112).pixels.shape == (0, 112, 112, 3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(5, 2),
        torch.full((5, 2), 70000.0),
        torch.tensor([[0.0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]),
        torch.tensor([[0.0, 0], [0, 0], [0, 0], [0, 0], [1e-20, 0]]),
    ],
    ids=["one point", "one far point", "a line", "nearly one point"],
)
def test_points_that_are_no_face_stay_finite(points: Tensor, picture: np.ndarray):
    (matrix,) = similarity_transform(points[None], arcface_template(112))
    assert matrix.isfinite().all()
    crop = warped(picture, matrix, 112)
    assert np.isfinite(crop).all() and crop.min() >= 0 and crop.max() <= 255
    if points.unique(dim=0).shape[0] == 1:
        assert not crop.any()


@pytest.mark.parametrize("size", [96, 192, 200, 640])
def test_template_of_other_sizes_is_that_of_128(size: int):
    assert torch.allclose(arcface_template(size), arcface_template(128) * (size / 128))


def test_invert_and_apply():
    matrices = torch.tensor([[[0.0, -2.0, 5.0], [2.0, 0.0, -7.0]]], dtype=torch.float64)
    points = torch.tensor([[[0.0, 0.0], [10.0, 3.0]]])
    moved = apply_affine(matrices, points)
    assert moved.dtype == torch.float32 and moved.tolist() == [[[5.0, -7.0], [-1.0, 13.0]]]
    assert torch.allclose(apply_affine(invert_affine(matrices), moved), points)


# Crops --------------------------------------------------------------------------------------------

#: Boxes in a picture of 240 x 180: inside, over each border, fully outside, huge, tiny.
BOXES = [
    (60.0, 40.0, 140.0, 150.0),
    (61.3, 42.7, 98.2, 77.9),
    (-40.0, 30.0, 50.0, 120.0),
    (200.0, 100.0, 300.0, 230.0),
    (30.0, -60.0, 90.0, 20.0),
    (400.0, 300.0, 460.0, 380.0),
    (-300.0, -300.0, -200.0, -210.0),
    (-2000.0, -1500.0, 2600.0, 1900.0),
    (100.0, 90.0, 103.0, 93.5),
    (120.2, 90.1, 120.4, 90.3),
]


@pytest.mark.usefixtures("as_opencv")
@pytest.mark.parametrize("size, expansion", [(192, 1.5), (96, 1.5), (112, 1.3)])
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_square_around_a_box_as_insightface_cuts_it(
    picture: np.ndarray, box: tuple[float, ...], size: int, expansion: float
):
    left, top, right, bottom = box
    scale = size / (max(right - left, bottom - top) * expansion)
    centre = ((left + right) / 2, (top + bottom) / 2)
    expected, expected_matrix = face_align.transform(picture, centre, size, scale, 0)
    (matrix,) = centred_square(torch.tensor([box]), size, expansion)
    # Boxes are float32: seven digits, of an extent that reaches thousands of pixels.
    np.testing.assert_allclose(matrix.numpy(), expected_matrix, rtol=1e-4, atol=1e-3)
    exact = centred_square(torch.tensor([box], dtype=torch.float64), size, expansion)[0]
    assert_same_picture(warped(picture, exact, size), expected)


@pytest.mark.usefixtures("way")
def test_square_around_a_box_without_area_is_finite(picture: np.ndarray):
    matrices = centred_square(torch.tensor([[50.0, 50.0, 50.0, 50.0], [9.0, 9.0, 5.0, 3.0]]), 96)
    assert matrices.isfinite().all()
    assert np.isfinite(warped(picture, matrices[0], 96)).all()


@pytest.mark.usefixtures("as_opencv")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "scale, turn, move",
    [
        (0.93, 0.0, (60.0, 30.0)),
        (0.7, 25.0, (90.0, 40.0)),
        (1.3, -170.0, (200.0, 150.0)),
        (1.0, 10.0, (-50.0, 120.0)),
        (0.93, 0.0, (500.0, 500.0)),
        (12.0, 5.0, (-500.0, -600.0)),
        (0.03, 0.0, (120.0, 90.0)),
    ],
    ids=["inside", "turned", "upside down", "over the border", "outside", "huge", "tiny"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_aligned_crop_as_insightface_cuts_it(
    picture: np.ndarray, size: int, scale: float, turn: float, move: tuple[float, float]
):
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (arcface_template(112).numpy() @ rotation.T * scale + move).astype(np.float32)
    expected = face_align.norm_crop(picture, points, size)
    (matrix,) = similarity_transform(torch.from_numpy(points)[None], arcface_template(size))
    assert_same_picture(warped(picture, matrix, size), expected)


@pytest.mark.usefixtures("as_opencv")
@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [0, 1, 0]],
        [[2, 0, -40], [0, 2, -30]],
        [[4, 0, -300], [0, 2, 17]],
        [[0, -2, 200], [2, 0, -99]],
        [[0.5, 0, 3], [0, 0.25, 3]],
        [[1, 0, 0.5], [0, 1, -0.25]],
    ],
    ids=str,
)
def test_grey_levels_are_rounded_as_opencv_rounds(picture: np.ndarray, matrix: list[list[float]]):
    # Whole factors: many pixels lie exactly half way between two grey levels.
    expected = cv2.warpAffine(picture, np.array(matrix, np.float64), (160, 160))
    got = warped(picture, torch.tensor(matrix, dtype=torch.float64), 160)
    assert (got == expected).all()


def test_both_ways_agree(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    matrices, rows = random_matrices(40, 64), torch.zeros(40, dtype=torch.int64)
    by_opencv = warp(batch_of(picture), rows, matrices, 64).float()
    monkeypatch.setattr(align, "opencv_is_there", lambda: False)
    by_torch = warp(batch_of(picture), rows, matrices, 64).float()
    # OpenCV 4 rounds places to 1/32 pixel.
    assert (by_opencv - by_torch).abs().mean() < 0.5 and by_torch.flatten(1).std(1).max() > 10


def random_matrices(count: int, size: int) -> Tensor:
    random = np.random.default_rng(3)
    corner = random.uniform(-40, 200, (count, 2))
    boxes = np.concatenate((corner, corner + random.uniform(5, 120, (count, 2))), 1)
    return centred_square(torch.from_numpy(boxes), size)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_give_the_crops_of_the_same_8_bit_image(
    picture: np.ndarray, dtype: torch.dtype, channels: int
):
    pixels = np.concatenate((picture, picture[..., :1]), 2)[..., :channels]
    exact = torch.from_numpy(pixels.copy())[None]
    matrices, rows = random_matrices(6, 64), torch.zeros(6, dtype=torch.int64)
    (as_bytes,) = Images.from_comfy(exact).chunks()
    (as_floats,) = Images.from_comfy((exact.double() / 255).to(dtype)).chunks()
    expected = warp(as_bytes, rows, matrices, 64)
    assert expected.float().std() > 10
    assert torch.equal(warp(as_floats, rows, matrices, 64), expected)


@pytest.mark.usefixtures("way")
def test_values_outside_0_to_1_are_clamped_before_they_mix(picture: np.ndarray):
    pixels = torch.from_numpy(picture)[None] / 255 * 1.6 - 0.3
    matrices, rows = random_matrices(6, 64), torch.zeros(6, dtype=torch.int64)
    (wild,), (tame,) = (Images.from_comfy(p).chunks() for p in (pixels, pixels.clamp(0, 1)))
    assert torch.equal(warp(wild, rows, matrices, 64), warp(tame, rows, matrices, 64))


@pytest.mark.usefixtures("way")
def test_bgr_and_rgb_give_the_same_crops(picture: np.ndarray):
    matrices, rows = random_matrices(6, 64), torch.zeros(6, dtype=torch.int64)
    (rgb,) = Images.from_comfy(torch.from_numpy(picture[..., ::-1].copy())[None]).chunks()
    expected = warp(batch_of(picture), rows, matrices, 64)
    assert torch.equal(warp(rgb, rows, matrices, 64).flip(-1), expected)


@pytest.mark.usefixtures("way")
def test_crops_of_mixed_sizes_are_those_of_single_images(picture: np.ndarray):
    rgb = torch.from_numpy(picture[..., ::-1].copy())
    sources = [
        rgb[None, :100, :120],
        rgb[None, :180, :90],
        rgb[None, 40:140, 100:220] / 255,
        rgb[None, 50:150, 60:180],
        rgb[None, :1, :1],
    ]
    image_of_face = [3, 0, 0, 2, 1, 4, 3]
    matrices = random_matrices(7, 64)
    crops = crop_faces(Images.from_comfy(sources), image_of_face, matrices, 64).pixels
    for face, image in enumerate(image_of_face):
        one = Images.from_comfy(sources[image])
        alone = crop_faces(one, [0], matrices[face : face + 1], 64).pixels
        assert torch.equal(crops[face], alone[0]), face
    assert (crops.float().flatten(1).std(1) > 0).sum() >= 5


def test_refuses_faces_of_other_images():
    images = Images.from_comfy(torch.zeros(2, 8, 8, 3))
    with pytest.raises(InvalidInput, match="got faces of image 2, counted from 0, but only 2 imag"):
        crop_faces(images, [0, 2], random_matrices(2, 64), 64)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", [(1, 1), (16000, 3), (3, 16000)])
def test_crops_of_extreme_images(shape: tuple[int, int]):
    height, width = shape
    image = np.full((height, width, 3), 200, np.uint8)
    # A square of the shorter side around the far corner's pixel, and one around the whole image.
    far = [width - 1.0, height - 1.0, width - 1.0, height - 1.0]
    around = torch.tensor([[far[0] - 0.5, far[1] - 0.5, far[2] + 0.5, far[3] + 0.5]])
    crop = warped(image, centred_square(around, 32, 1.0)[0], 32)
    assert crop[16, 16].tolist() == [200, 200, 200]
    whole = torch.tensor([[0.0, 0.0, float(width), float(height)]])
    assert warped(image, centred_square(whole, 32)[0], 32).max() <= 200
