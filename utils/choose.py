"""Which faces of a batch to go on with."""

from __future__ import annotations

import torch
from torch import Tensor

from .faces import Faces


def largest_of_each_image(faces: Faces) -> Tensor:
    """Rows of the face with the largest box of every image that has one.

    Returns:
        `[K]` int64 on the faces' device, in the order of the images. Of equal areas the later row
        wins, as with InstantID's `sorted(...)[-1]`.
    """
    if len(faces) == 0:
        return faces.image_index
    width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).unbind(1)
    by_area = torch.argsort(width * height, stable=True)
    order = by_area[torch.argsort(faces.image_index[by_area], stable=True)]
    image = faces.image_index[order]
    last_of_image = torch.ones_like(image, dtype=torch.bool)
    last_of_image[:-1] = image[1:] != image[:-1]
    return order[last_of_image]
