from __future__ import annotations

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.segs import FastFaceSEGS
from fastface.utils import host
from fastface.utils.errors import InvalidInput
from tests.nodes.fakes import SCORES, SIZE_HW, images_with


@pytest.mark.parametrize("counts", [(), (0,), (3, 0, 1)])
def test_one_for_each_image(face_analysis, counts: tuple[int, ...]):
    images = images_with(*counts)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    segs, single = FastFaceSEGS().convert(images, faces)["result"]
    assert [len(found) for _, found in segs] == list(counts)
    assert all(size_hw == SIZE_HW for size_hw, _ in segs)
    assert len(single) == len(counts)
    assert all(torch.equal(one[0], image) for one, image in zip(single, images, strict=True))
    for _, found in segs:
        assert [seg.confidence for seg in found] == pytest.approx(SCORES[: len(found)])


def test_alpha_is_left_out(face_analysis):
    images = images_with(1)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    with_alpha = torch.cat((images, torch.ones_like(images[..., :1])), 3)
    [(_, [seg])], [single] = FastFaceSEGS().convert(with_alpha, faces)["result"]
    assert seg.cropped_image.shape[3] == single.shape[3] == 3


def test_unknown_shape(face_analysis):
    images = images_with(1)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    with pytest.raises(InvalidInput, match="got mask_shape 'star', expected one of ellipse"):
        FastFaceSEGS().convert(images, faces, mask_shape="star")


@pytest.mark.parametrize(
    "convert",
    [lambda images: images[..., :1], lambda images: (images * 255).round().byte()],
    ids=["grey", "uint8"],
)
def test_other_images_come_as_colours_from_0_to_1(face_analysis, convert):
    images = images_with(1)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    [(_, [seg])], [single] = FastFaceSEGS().convert(convert(images), faces)["result"]
    for pixels in (seg.cropped_image, single):
        assert pixels.shape[3] == 3 and pixels.dtype == torch.float32
        assert torch.allclose(pixels[:, 8:], torch.tensor(0.5), atol=1 / 255)


def test_no_image_is_blocked(face_analysis, monkeypatch):
    monkeypatch.setattr(host, "blocked", lambda instead: ("blocked", len(instead)))
    nothing = images_with()
    faces = FastFaceDetect().detect(face_analysis, nothing)["result"][0]
    assert FastFaceSEGS().convert(nothing, faces)["result"] == (("blocked", 0), ("blocked", 0))


def test_says_how_many(face_analysis):
    images = images_with(0, 3)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    assert FastFaceSEGS().convert(images, faces)["ui"] == {
        "text": ["3 faces in 1 of 2 images: 3 SEGs"]
    }
    none = images_with(0)
    faces = FastFaceDetect().detect(face_analysis, none)["result"][0]
    assert FastFaceSEGS().convert(none, faces)["ui"] == {"text": ["no face in 1 image: 0 SEGs"]}
