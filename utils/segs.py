"""SEGS, what Impact Pack calls the regions that its detectors find and its detailers work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .box_formats import clamped_box
from .faces import Faces
from .masks import fill_face
from .progress import may_stop

LABEL = "face"
#: Left, top, right, bottom in whole pixels.
Region = tuple[int, int, int, int]


class SEG(NamedTuple):
    """One region, with the fields that Impact Pack reads by name.

    Attributes:
        cropped_image: `[1,h,w,3]`, the image inside `crop_region`.
        cropped_mask: `[h,w]` float32 0..1, where in it the face is.
        confidence: Score of the face, 0..1.
        crop_region: What a detailer works on: left, top, right, bottom in whole pixels.
        bbox: The face itself, the same way.
        label: What it is; Impact Pack filters by it.
        control_net_wrapper: Impact Pack's own; None.

    Source:
        ComfyUI-Impact-Pack 7, `modules/impact/core.py`.
    """

    cropped_image: Tensor
    cropped_mask: np.ndarray
    confidence: float
    crop_region: tuple[int, int, int, int]
    bbox: tuple[int, int, int, int]
    label: str
    control_net_wrapper: Any = None


Segs = tuple[tuple[int, int], list[SEG]]


def segs_of_image(
    image: Tensor,
    faces: Faces,
    shape: str,
    crop_factor: float,
    drop_size: int,
    dilation: int = 0,
    change_region: Callable[[Region, Region], Region] | None = None,
) -> Segs:
    """The faces of one image as SEGS.

    Args:
        image: `[1,H,W,3]`; its crops are views.
        faces: Of this image.
        shape: Of the masks, one of `MASK_SHAPES`.
        crop_factor: Sides of the crop region over those of the box, at least 1.
        drop_size: Faces whose box is not longer than this in both directions are left out, in
            pixels.
        dilation: How far the edges of the masks are moved outwards, in pixels.
        change_region: Gets a face's `bbox` and `crop_region`, and gives the region to take.

    Returns:
        Height and width of the image, and a `SEG` for each face that lies in it, best score first.
    """
    size_hw = int(image.shape[1]), int(image.shape[2])
    segs = []
    for box, score in zip(faces.boxes.tolist(), faces.scores.tolist(), strict=True):
        may_stop()
        bbox = clamped_box(box, size_hw)
        if min(bbox[2] - bbox[0], bbox[3] - bbox[1]) <= drop_size:
            continue
        region = crop_region(bbox, size_hw, crop_factor)
        if change_region is not None:
            region = change_region(bbox, region)
        left, top, right, bottom = region
        mask = torch.zeros(bottom - top, right - left, dtype=torch.float32)
        mask_box = [box[0] - dilation, box[1] - dilation, box[2] + dilation, box[3] + dilation]
        fill_face(mask, mask_box, shape, (left, top))
        crop = image[:, top:bottom, left:right]
        segs.append(SEG(crop, mask.numpy(), score, region, bbox, LABEL))
    return size_hw, segs


def crop_region(
    bbox: tuple[int, int, int, int], size_hw: tuple[int, int], factor: float
) -> tuple[int, int, int, int]:
    """The box enlarged around its middle; at an image's border it is moved, not cut.

    Source:
        ComfyUI-Impact-Pack 7, `make_crop_region` in `modules/impact/utils.py`.
    """
    left, right = _enlarged(bbox[0], bbox[2], size_hw[1], factor)
    top, bottom = _enlarged(bbox[1], bbox[3], size_hw[0], factor)
    return left, top, right, bottom


def _enlarged(low: int, high: int, limit: int, factor: float) -> tuple[int, int]:
    length = (high - low) * factor
    start = int(low + (high - low) / 2 - length / 2)
    if start < 0:
        return 0, int(min(limit, length))
    if start + length > limit:
        return int(max(0, limit - length)), limit
    return start, int(min(limit, start + length))
