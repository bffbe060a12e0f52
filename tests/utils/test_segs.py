from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.faces import Faces
from fastface.utils.masks import MASK_SHAPES, face_masks
from fastface.utils.segs import crop_region, segs_of_image
from tests.other_packs import function_of
from tests.utils.properties import steady

SIZE_HW = (120, 160)
#: Inside; beyond the left and upper border; thin; beyond the image altogether.
BOXES = [[50.4, 30.2, 90.6, 80.0], [-6.0, -4.0, 34.0, 50.0], [100, 90, 103, 118], [170, 0, 190, 30]]


def faces() -> Faces:
    boxes = torch.tensor(BOXES)
    index = torch.zeros(len(BOXES), dtype=torch.int64)
    return Faces(boxes, torch.linspace(0.9, 0.6, len(BOXES)), index, (SIZE_HW,))


def an_image() -> torch.Tensor:
    return torch.rand(1, *SIZE_HW, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", MASK_SHAPES)
@pytest.mark.parametrize("factor", [1.0, 2.5, 30.0])
def test_a_region_shows_its_face(shape: str, factor: float):
    image, found = an_image(), faces()
    size_hw, segs = segs_of_image(image, found, shape, factor, drop_size=0)
    assert size_hw == SIZE_HW and len(segs) == 3
    for row, seg in enumerate(segs):
        left, top, right, bottom = seg.crop_region
        assert 0 <= left < right <= SIZE_HW[1] and 0 <= top < bottom <= SIZE_HW[0]
        assert torch.equal(seg.cropped_image, image[:, top:bottom, left:right])
        assert seg.cropped_mask.dtype == np.float32
        whole = face_masks(found[row : row + 1], SIZE_HW, shape)[0].numpy()
        np.testing.assert_array_equal(seg.cropped_mask, whole[top:bottom, left:right])
        # Nothing of the face lies outside, so that a detailer reaches all of it.
        assert seg.cropped_mask.sum() == whole.sum()
        assert seg.confidence == pytest.approx(found.scores[row].item())
        assert (seg.label, seg.control_net_wrapper) == ("face", None)


def test_boxes_are_whole_pixels_inside_the_image():
    _, segs = segs_of_image(an_image(), faces(), "box", 3.0, drop_size=0)
    assert [seg.bbox for seg in segs] == [(50, 30, 91, 80), (0, 0, 34, 50), (100, 90, 103, 118)]


def test_small_faces_are_dropped():
    assert len(segs_of_image(an_image(), faces(), "box", 3.0, drop_size=3)[1]) == 2
    assert segs_of_image(an_image(), faces(), "box", 3.0, drop_size=500) == (SIZE_HW, [])


SIDES = st.integers(8, 2000)


@steady(300)
@given(SIDES, SIDES, st.data(), st.floats(1, 100))
def test_regions_equal_impact_packs(height: int, width: int, data: st.DataObject, factor: float):
    normalize = function_of("COMFYUI_IMPACT_PATH", "modules/impact/utils.py", "normalize_region")
    theirs = function_of(
        "COMFYUI_IMPACT_PATH",
        "modules/impact/utils.py",
        "make_crop_region",
        normalize_region=normalize,
    )
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    bbox = (
        *(left, top),
        data.draw(st.integers(left + 1, width)),
        data.draw(st.integers(top + 1, height)),
    )
    ours = crop_region(bbox, (height, width), factor)
    assert list(ours) == theirs(width, height, bbox, factor)
