from __future__ import annotations

import pytest
import torch

from fastface.utils.choose import SELECTION_METHODS, largest_of_each_image, select_boxes
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces


@pytest.mark.parametrize(
    "images, sides, expected",
    [
        ([], [], []),
        ([0], [5], [0]),
        ([0, 0, 0], [5, 9, 7], [1]),
        ([0, 0, 2, 2], [5, 9, 8, 3], [1, 2]),
        ([1, 1], [4, 4], [1]),
    ],
)
def test_largest_of_each_image(images: list[int], sides: list[float], expected: list[int]):
    faces = Faces(
        boxes=torch.tensor([[10.0, 10.0, 10.0 + side, 10.0 + side] for side in sides]).reshape(
            -1, 4
        ),
        scores=torch.ones(len(sides)),
        image_index=torch.tensor(images, dtype=torch.int64),
        image_sizes=((100, 100),) * 3,
    )
    rows = largest_of_each_image(faces)
    assert rows.dtype == torch.int64 and rows.tolist() == expected
    assert len(faces[rows].image_sizes) == 3


class _Image:
    """What the library reads of a PIL image."""

    width, height = 90, 60


@pytest.mark.parametrize("method", SELECTION_METHODS)
def test_select_boxes_is_facenet_pytorchs(method: str):
    mtcnn = pytest.importorskip("facenet_pytorch").MTCNN
    generator = torch.Generator().manual_seed(3)
    images = 12
    image_index = torch.randint(0, images, (50,), generator=generator).sort().values
    corner = torch.rand(50, 2, generator=generator) * 40
    faces = Faces(
        boxes=torch.cat((corner, corner + 5 + torch.rand(50, 2, generator=generator) * 20), 1),
        scores=0.8 + 0.2 * torch.rand(50, generator=generator),
        image_index=image_index,
        image_sizes=((_Image.height, _Image.width),) * images,
    )
    expected = []
    for image in range(images):
        rows = (image_index == image).nonzero()[:, 0]
        if len(rows):
            boxes, scores = faces.boxes[rows].numpy(), faces.scores[rows].numpy()
            chosen, _, _ = mtcnn.select_boxes(
                None, [boxes], [scores], [rows.numpy()], [_Image()], method
            )
            if chosen[0] is not None:
                expected += rows[(boxes == chosen[0]).all(1)].tolist()
    assert len(expected) > 5
    assert select_boxes(faces, method).tolist() == expected
    empty = faces[torch.zeros(50, dtype=torch.bool)]
    assert select_boxes(empty, method).tolist() == []


def test_no_such_selection():
    with pytest.raises(InvalidInput, match="'smallest', expected one of probability"):
        select_boxes(Faces.empty(), "smallest")
