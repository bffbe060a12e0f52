from __future__ import annotations

import pytest
import torch

from fastface.utils.choose import largest_of_each_image
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
