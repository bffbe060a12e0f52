"""Masks of faces that fit more closely, are larger or smaller, and have soft edges."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .errors import InvalidInput
from .faces import Faces
from .masks import MASK_SHAPES, face_masks
from .progress import may_stop

#: `outline` is the hull of the 106 landmarks, from the eyebrows to the chin.
SHAPES = (*MASK_SHAPES, "outline")

#: Values of a mask that are blurred at once, between two places where that may be stopped.
_VALUES_AT_ONCE = 1 << 22
#: What periods of a transform are multiples of.
_PERIODS = 256
#: A blurred mask has so many steps between 0 and 1: rounding errors leave no trace where nothing
#: or everything is covered, so that others still find a mask's edge.
_STEPS = 65536


def shaped_masks(
    faces: Faces,
    size_hw: tuple[int, int],
    shape: str,
    grow_px: int = 0,
    blur_px: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """One mask an image: 1 where a face is, 0 elsewhere.

    Args:
        faces: Of a batch of images of one size.
        size_hw: Height and width of the images in pixels.
        shape: One of `SHAPES`.
        grow_px: How far each edge is moved outwards, in pixels; inwards below 0.
        blur_px: Standard deviation of the blur of the edges, in pixels; 0 leaves them hard.
        device: Where the masks are made.

    Returns:
        `[B,H,W]` float32 0..1 on `device`.

    Raises:
        InvalidInput: Unknown shape, or an outline of faces without 106 landmarks.
    """
    if shape == "outline":
        masks = _outlines(faces, size_hw, grow_px).to(device)
    else:
        masks = face_masks(_grown(faces, grow_px), size_hw, shape, device)
    return blurred(masks, blur_px)


def _grown(faces: Faces, pixels: int) -> Faces:
    """The faces with boxes whose edges lie further out; those that vanish have no area."""
    outwards = faces.boxes.new_tensor([-pixels, -pixels, pixels, pixels])
    boxes = faces.boxes + outwards
    middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    boxes = torch.cat(
        (torch.minimum(boxes[:, :2], middle), torch.maximum(boxes[:, 2:], middle)), dim=1
    )
    return faces.with_fields(boxes=boxes)


def _outlines(faces: Faces, size_hw: tuple[int, int], grow_px: int) -> Tensor:
    """`[B,H,W]` float32 on the CPU."""
    from PIL import Image, ImageDraw
    from scipy.spatial import ConvexHull, QhullError

    if faces.landmarks_106 is None and len(faces):
        raise InvalidInput(
            "got faces without 106 landmarks, which an outline is made of; connect faceanalysis "
            "and images with a model pack that has landmark_2d_106, such as buffalo_l, or choose "
            "another shape"
        )
    height, width = size_hw
    pictures = [Image.new("L", (width, height)) for _ in faces.image_sizes]
    points = [] if faces.landmarks_106 is None else faces.landmarks_106.cpu().numpy()
    for image, landmarks in zip(faces.images_of_faces(), points, strict=True):
        may_stop()
        try:
            hull = landmarks[ConvexHull(landmarks).vertices]
        except (QhullError, ValueError):  # all in a line, or not finite: there is no area
            continue
        face = Image.new("L", (width, height))
        pen = ImageDraw.Draw(face)
        corners = [tuple(corner) for corner in hull.tolist()]
        pen.polygon(corners, fill=255)
        if grow_px:
            edge = [*corners, *corners[:2]]
            pen.line(edge, fill=255 * (grow_px > 0), width=2 * abs(grow_px), joint="curve")
        pictures[image].paste(255, mask=face)
    masks = (
        np.stack([np.asarray(picture) for picture in pictures])
        if pictures
        else np.zeros((0, height, width), np.uint8)
    )
    return torch.from_numpy(masks).float() / 255


def blurred(masks: Tensor, sigma_px: float) -> Tensor:
    """Masks with a Gaussian blur; what lies beyond an image's border is as its border.

    By the frequencies of rows and columns, which takes the same time for any width of the blur.

    Args:
        masks: `[B,H,W]` float32 0..1 on any device.
        sigma_px: Standard deviation in pixels; 0 gives the masks back.

    Returns:
        `[B,H,W]` float32 in steps of 1/65536, at most one step from the sum over all pixels within
        three standard deviations. Exactly 0 and 1 where nothing but that is in reach.
    """
    if sigma_px <= 0 or not masks.numel():
        return masks
    reach = math.ceil(3 * sigma_px)
    offsets = torch.arange(-reach, reach + 1, device=masks.device, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    kernel = (kernel / kernel.sum()).to(masks.dtype)
    result = torch.empty_like(masks)
    for mask, target in zip(masks, result, strict=True):
        along_rows = _blurred_along_rows(mask, kernel)
        target.copy_(_blurred_along_rows(along_rows.mT, kernel).mT)
    return result.mul_(_STEPS).round_().div_(_STEPS)


def _blurred_along_rows(mask: Tensor, kernel: Tensor) -> Tensor:
    """`[H,W]` blurred by a kernel `[K]` along the rows, some rows at a time."""
    width, reach = mask.shape[1], len(kernel) // 2
    # A period with room for the padding, so that no end of a row reaches the other; of many
    # factors, which a transform takes least time for.
    period = math.ceil((width + 2 * reach) / _PERIODS) * _PERIODS
    frequencies = torch.fft.rfft(kernel, period)
    parts = []
    for some in mask.split(max(1, _VALUES_AT_ONCE // period)):
        may_stop()
        # "replicate" takes any amount of padding, unlike "reflect".
        padded = torch.nn.functional.pad(some[:, None], [reach, reach], mode="replicate")[:, 0]
        summed = torch.fft.irfft(torch.fft.rfft(padded, period) * frequencies, period)
        parts.append(summed[:, 2 * reach : 2 * reach + width])
    return torch.cat(parts)
