from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.nodes.crop import SHAPES, FastFaceCrop, FastFacePaste
from fastface.nodes.detect import FastFaceDetect
from fastface.utils import host
from fastface.utils.crops import CropBatch
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from tests.nodes.fakes import BOXES, SIZE_HW, images_with


def textured(*counts: int) -> Tensor:
    """Noise, the hardest to reproduce, in images with these numbers of faces."""
    images = images_with(*counts)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    noise[:, 0, 0, 0] = images[:, 0, 0, 0]
    return noise


def found(face_analysis, images: Tensor) -> Faces:
    return FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]


def crop(face_analysis, images: Tensor, **kwargs):
    return FastFaceCrop().crop(images, found(face_analysis, images), **kwargs)["result"][:3]


def paste(images: Tensor, crops: Tensor | None, origin: CropBatch, **kwargs) -> tuple:
    return FastFacePaste().paste(images, crops, origin, **kwargs)["result"]


@pytest.mark.parametrize("counts", [(), (0, 0), (3, 0, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_crop_a_face(face_analysis, counts: tuple[int, ...], shape: str):
    crops, origin, count = crop(face_analysis, textured(*counts), shape=shape, size=80)
    side = 80 if shape == "square" else int(shape.split()[1])
    assert crops.shape == (sum(counts), side, side, 3) and crops.dtype == torch.float32
    assert count == len(origin) == sum(counts)


def test_square_shows_the_padded_box(face_analysis):
    images = textured(3)
    crops, _, _ = crop(face_analysis, images, size=40, padding=0.0)
    left, top, right, bottom = map(int, BOXES[2])
    assert (right - left, bottom - top) == (40, 40)
    assert torch.allclose(crops[2], images[0, top:bottom, left:right], atol=1e-5)


def test_outside_is_black(face_analysis):
    crops, _, _ = crop(face_analysis, textured(2), size=60, padding=0.0)
    assert BOXES[1][0] < 0 and not crops[1, :, :10].any() and crops[1, 20:40, 30:].any()


@pytest.mark.parametrize("size", [112, 224, 256, 512])
def test_aligned_is_what_insightface_cuts(face_analysis, size: int):
    upstream = pytest.importorskip("insightface.utils.face_align")
    images = (textured(1) * 255).round() / 255
    images[:, 0, 0, 0] = 0.1
    faces = found(face_analysis, images)
    crops = FastFaceCrop().crop(images, faces, shape=f"aligned {size}")["result"][0]
    assert faces.landmarks is not None
    pixels = (images[0] * 255).byte().numpy()
    if size % 112:
        matrix = upstream.estimate_norm(faces.landmarks[0].numpy(), image_size=size)
        import cv2

        expected = cv2.warpAffine(pixels, matrix, (size, size), borderValue=0.0)
    else:
        expected = upstream.norm_crop(pixels, faces.landmarks[0].numpy(), size)
    # OpenCV 4 rounds coordinates to 1/32 pixel, which noise shows at its worst.
    apart = np.abs(crops[0].numpy() * 255 - expected)
    assert apart.mean() < 2 and np.percentile(apart, 99) < 12


@pytest.mark.parametrize("shape", SHAPES)
def test_an_unchanged_crop_gives_the_image_back(face_analysis, shape: str):
    images = textured(3, 0, 2)
    crops, origin, _ = crop(face_analysis, images, shape=shape, size=96)
    pasted, masks = paste(images, crops, origin)
    assert masks.shape == (3, *SIZE_HW) and not masks[1].any() and masks[0].max() == 1
    assert (pasted - images).abs().max() <= 1e-5 < 1 / 255


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resized", [0.5, 2.0])
def test_a_resized_crop_comes_back_to_its_place(face_analysis, shape: str, resized: float):
    """A slope shows every shift, and is the same at any size."""
    images = textured(1)
    images[0, :, :, 1] = torch.linspace(0, 1, SIZE_HW[1])
    images[0, :, :, 2] = torch.linspace(0, 1, SIZE_HW[0])[:, None]
    crops, origin, _ = crop(face_analysis, images, shape=shape, size=96, padding=0.0)
    brighter = crops.permute(0, 3, 1, 2) + 0.3
    brighter = torch.nn.functional.interpolate(brighter, scale_factor=resized, mode="bilinear")
    pasted, masks = paste(images, brighter.permute(0, 2, 3, 1), origin)
    change = (pasted - images)[..., 1:][masks == 1] - 0.3
    assert change.abs().median() < 0.1 / SIZE_HW[1]


def test_a_changed_crop_is_pasted_with_a_soft_edge(face_analysis):
    images = textured(0, 1)
    crops, origin, _ = crop(face_analysis, images, size=64)
    pasted, masks = paste(images, torch.ones_like(crops), origin, feather=0.2)
    assert torch.allclose(pasted[masks == 1], torch.ones(1))
    soft = (masks > 0) & (masks < 1)
    expected = images + masks[..., None] * (1 - images)
    assert soft.any() and torch.allclose(pasted[soft], expected[soft], atol=0.02)
    hard = paste(images, crops, origin, feather=0.0)[1]
    assert ((hard == 0) | (hard == 1)).float().mean() > 0.99


def test_the_first_face_is_on_top(face_analysis):
    images = textured(1)
    twice = found(face_analysis, images)[[0, 0]]
    crops, origin = FastFaceCrop().crop(images, twice)["result"][:2]
    crops = torch.stack((torch.zeros_like(crops[0]), torch.ones_like(crops[0])))
    pasted, masks = paste(images, crops, origin)
    assert not pasted[masks == 1].any()


def test_nothing_to_paste(face_analysis):
    images = textured(0)
    crops, origin, _ = crop(face_analysis, images)
    pasted, masks = paste(images, crops, origin)
    assert torch.equal(pasted, images) and not masks.any()


@pytest.mark.parametrize(
    "convert",
    [
        lambda images: torch.cat((images, images[..., :1]), 3),
        lambda images: (images * 255).round().byte(),
        lambda images: images.half(),
    ],
    ids=["alpha", "uint8", "half"],
)
def test_other_images(face_analysis, convert):
    images = textured(1)
    faces = found(face_analysis, images)
    crops, origin = FastFaceCrop().crop(convert(images), faces)["result"][:2]
    pasted, _ = paste(convert(images), crops, origin)
    assert torch.allclose(pasted, images, atol=0.003)


def test_what_does_not_fit_is_refused(face_analysis):
    images = textured(2)
    crops, origin, _ = crop(face_analysis, images)
    with pytest.raises(InvalidInput, match="expected 2 square ones"):
        paste(images, crops[:1], origin)
    with pytest.raises(InvalidInput, match="connect the images"):
        paste(images[:, 2:], crops, origin)
    with pytest.raises(InvalidInput, match="got Tensor on the origin"):
        paste(images, crops, crops)  # type: ignore[arg-type]
    faces = found(face_analysis, images)
    with pytest.raises(InvalidInput, match="'round'"):
        FastFaceCrop().crop(images, faces, shape="round")
    with pytest.raises(ModelError, match="gives no landmarks"):
        FastFaceCrop().crop(images, faces.with_fields(landmarks=None), shape="aligned 112")


@pytest.mark.parametrize(
    "convert",
    [
        lambda crops: (crops * 255).round().byte(),
        lambda crops: torch.cat((crops, crops[..., :1] * 0), 3),
        lambda crops: crops[..., :1],
    ],
    ids=["uint8", "alpha", "grey"],
)
def test_other_edited_crops(face_analysis, convert):
    """Black and white survive every form."""
    images = textured(2)
    crops, origin, _ = crop(face_analysis, images)
    white = torch.ones_like(crops)
    expected, _ = paste(images, white, origin)
    pasted, masks = paste(images, convert(white), origin)
    assert torch.equal(pasted, expected)
    assert torch.allclose(pasted[masks == 1], torch.ones(1), atol=0.02) and pasted.max() < 1.001


@pytest.mark.parametrize("counts", [(3, 0, 1), (1,), (0, 2)])
def test_each_crop_knows_its_image(face_analysis, counts: tuple[int, ...]):
    images = textured(*counts)
    faces = found(face_analysis, images)
    _, origin, _, image_indices = FastFaceCrop().crop(images, faces)["result"]
    assert image_indices == [image for image, count in enumerate(counts) for _ in range(count)]
    assert FastFaceCrop.OUTPUT_IS_LIST == (False, False, False, True)
    assert image_indices == list(origin.image_of_crop)


class TestNoFace:
    def test_nothing_runs_behind_what_is_empty(self, face_analysis, monkeypatch):
        monkeypatch.setattr(host, "blocked", lambda instead: ("blocked", len(instead)))
        images = textured(0, 0)
        output = FastFaceCrop().crop(images, found(face_analysis, images))
        crops, origin, count, image_indices = output["result"]
        assert crops == image_indices == ("blocked", 0)
        assert len(origin) == count == 0
        assert output["ui"]["text"] == ["no face in 2 images: nothing goes on behind crops"]

    @pytest.mark.parametrize("crops", [None, torch.zeros(0, 512, 512, 3)])
    def test_the_images_are_passed_through(self, face_analysis, crops: Tensor | None):
        images = torch.cat((textured(0, 0), torch.ones(2, *SIZE_HW, 1)), 3)
        _, origin, _ = crop(face_analysis, images)
        output = FastFacePaste().paste(images, crops, origin)
        pasted, masks = output["result"]
        assert pasted is images and masks.shape == (2, *SIZE_HW) and not masks.any()
        assert output["ui"]["text"] == ["no face in 2 images: the images are passed through"]

    def test_crops_are_asked_for_only_where_there_are_some(self, face_analysis):
        assert FastFacePaste.INPUT_TYPES()["required"]["crops"][1]["lazy"] is True
        ask = FastFacePaste().check_lazy_status
        nobody, somebody = (crop(face_analysis, textured(count))[1] for count in (0, 2))
        others = {"images": textured(0), "feather": 0.1}
        assert ask(origin=nobody, crops=None, **others) == []
        assert ask(origin=somebody, crops=None, **others) == ["crops"]
        assert ask(origin=somebody, crops=torch.zeros(2, 8, 8, 3), **others) == []
        # An origin that comes later, or is none, is no reason to leave the crops out.
        assert ask(origin=None, **others) == ask(origin="wrong", **others) == ["crops"]
        with pytest.raises(InvalidInput, match="got no crops, expected 2"):
            FastFacePaste().paste(textured(2), None, somebody)
