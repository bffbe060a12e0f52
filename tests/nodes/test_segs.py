from __future__ import annotations

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.segs import FastFaceSEGS
from fastface.utils.errors import InvalidInput
from tests.nodes.fakes import SCORES, SIZE_HW, images_with


@pytest.mark.parametrize("counts", [(), (0,), (3, 0, 1)])
def test_one_for_each_image(face_analysis, counts: tuple[int, ...]):
    images = images_with(*counts)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    segs, single = FastFaceSEGS().convert(images, faces)
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
    [(_, [seg])], [single] = FastFaceSEGS().convert(with_alpha, faces)
    assert seg.cropped_image.shape[3] == single.shape[3] == 3


def test_unknown_shape(face_analysis):
    images = images_with(1)
    faces = FastFaceDetect().detect(face_analysis, images, annotate=False)["result"][0]
    with pytest.raises(InvalidInput, match="got mask shape 'star', expected one of ellipse"):
        FastFaceSEGS().convert(images, faces, mask_shape="star")
