"""Masks of where the faces are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import InvalidInput
from .faces import Faces
from .progress import may_stop

MASK_SHAPES = ("ellipse", "box")


def face_masks(
    faces: Faces,
    size_hw: tuple[int, int],
    shape: str = "ellipse",
    device: torch.device | str = "cpu",
) -> Tensor:
    """One mask an image: 1 where a face is, 0 elsewhere, hard edges.

    Args:
        faces: Of a batch of images of one size.
        size_hw: Height and width of the images in pixels.
        shape: `ellipse` fills the ellipse that touches the box from inside, `box` the box.
        device: Where the masks are made.

    Returns:
        `[B,H,W]` float32 on `device`; B is the number of images, with or without faces.

    Raises:
        InvalidInput: Unknown shape.
    """
    if shape not in MASK_SHAPES:
        raise InvalidInput(f"got mask shape {shape!r}, expected one of {', '.join(MASK_SHAPES)}")
    height, width = size_hw
    shape_bhw = (len(faces.image_sizes), height, width)
    masks = torch.zeros(shape_bhw, dtype=torch.float32, device=device)
    for image, box in zip(faces.image_index.tolist(), faces.boxes.tolist(), strict=True):
        may_stop()
        fill_face(masks[image], box, shape)
    return masks


def fill_face(
    mask: Tensor, box: Sequence[float], shape: str, left_top: tuple[int, int] = (0, 0)
) -> None:
    """Sets a mask to 1 where a face is.

    Args:
        mask: `[H,W]` float, of a region of an image; written to.
        box: Of the face, xyxy in pixels of the image.
        shape: One of `MASK_SHAPES`.
        left_top: Where in the image the region begins, in pixels.
    """
    height, width = mask.shape
    left, right = (x - left_top[0] for x in box[::2])
    top, bottom = (y - left_top[1] for y in box[1::2])
    x0, x1 = max(0, round(left)), min(width, round(right))
    y0, y1 = max(0, round(top)), min(height, round(bottom))
    if x0 >= x1 or y0 >= y1:
        return
    region = mask[y0:y1, x0:x1]
    if shape == "box":
        region.fill_(1.0)
        return
    # Pixel i covers i to i + 1: its centre decides.
    x = torch.arange(x0, x1, dtype=torch.float32, device=mask.device) + 0.5 - (left + right) / 2
    y = torch.arange(y0, y1, dtype=torch.float32, device=mask.device) + 0.5 - (top + bottom) / 2
    inside = (x * 2 / (right - left)) ** 2 + (y[:, None] * 2 / (bottom - top)) ** 2 <= 1
    region.masked_fill_(inside, 1.0)
