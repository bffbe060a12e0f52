from __future__ import annotations

import math

import pytest
import torch

from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.masks import face_masks


def faces_at(*boxes: tuple[int, list[float]], images: int = 2) -> Faces:
    return Faces(
        boxes=torch.tensor([box for _, box in boxes]).reshape(-1, 4),
        scores=torch.ones(len(boxes)),
        image_index=torch.tensor([image for image, _ in boxes], dtype=torch.int64),
        image_sizes=((40, 60),) * images,
    )


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_faces_is_black(images: int):
    masks = face_masks(faces_at(images=images), (40, 60))
    assert masks.shape == (images, 40, 60) and masks.dtype == torch.float32 and not masks.any()


@pytest.mark.parametrize(
    "box, expected",
    [
        ([10.0, 5.0, 30.0, 25.0], (slice(5, 25), slice(10, 30))),
        ([10.4, 5.4, 29.6, 24.6], (slice(5, 25), slice(10, 30))),
        ([-9.0, -9.0, 12.0, 8.0], (slice(0, 8), slice(0, 12))),
        ([50.0, 30.0, 90.0, 90.0], (slice(30, 40), slice(50, 60))),
        ([70.0, 5.0, 90.0, 20.0], (slice(0, 0), slice(0, 0))),
        ([20.0, 10.0, 20.0, 10.0], (slice(0, 0), slice(0, 0))),
    ],
)
def test_box(box: list[float], expected: tuple[slice, slice]):
    masks = face_masks(faces_at((1, box)), (40, 60), "box")
    wanted = torch.zeros(2, 40, 60)
    wanted[1][expected] = 1
    assert torch.equal(masks, wanted)


def test_ellipse_is_inside_the_box_and_has_its_area():
    masks = face_masks(faces_at((0, [10.0, 4.0, 50.0, 34.0])), (40, 60), "ellipse")
    assert masks[0].sum() == pytest.approx(math.pi / 4 * 40 * 30, rel=0.02)
    assert masks[0, 19, 10] == masks[0, 4, 30] == 1 and masks[0, 4, 10] == 0
    assert torch.equal(masks[0], masks[0].flip(1)) and not masks[1].any()


def test_ellipse_at_the_border_is_cut_off_not_squeezed():
    whole = face_masks(faces_at((0, [10.0, 4.0, 30.0, 34.0])), (40, 60))[0]
    cut = face_masks(faces_at((0, [-10.0, 4.0, 10.0, 34.0])), (40, 60))[0]
    assert torch.equal(cut[:, :10], whole[:, 20:30])


def test_faces_that_overlap_join():
    first, second = [5.0, 5.0, 25.0, 25.0], [15.0, 5.0, 35.0, 25.0]
    both = face_masks(faces_at((0, first), (0, second)), (40, 60))[0]
    alone = [face_masks(faces_at((0, box)), (40, 60))[0] for box in (first, second)]
    assert torch.equal(both, torch.maximum(*alone))


def test_refuses_an_unknown_shape():
    with pytest.raises(InvalidInput, match="got mask shape 'star', expected one of ellipse, box"):
        face_masks(faces_at(), (40, 60), "star")
