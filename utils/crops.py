"""Faces cut out of images with the way back: cut, and pasted with a soft edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .align import apply_affine, invert_affine
from .devices import widest_float
from .errors import InvalidInput
from .progress import advance, may_stop

#: A change of this size, of 0..1, is a change; below, the image's own pixels shine through, which
#: no crop can hold as exactly.
_CHANGE = 4 / 255

#: Pixels that are sampled at once: more take memory for coordinates, and time without a break.
_PIXELS_AT_ONCE = 1 << 21


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of faces and where they come from.

    Attributes:
        pixels: `[N,S,S,3]` float32 0..1, as they were cut.
        matrices: `[N,2,3]` from image pixels to crop pixels, pixel centres at whole numbers.
        image_of_crop: The image of each crop, counted from 0.
        image_sizes: `(height, width)` of every image.
    """

    pixels: Tensor
    matrices: Tensor
    image_of_crop: tuple[int, ...]
    image_sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.image_of_crop)


def cut(images: Tensor, image_of_crop: tuple[int, ...], matrices: Tensor, side: int) -> CropBatch:
    """Cuts square crops by affine maps: bilinear, black outside.

    Args:
        images: `[B,H,W,3]` floating 0..1 on any device.
        image_of_crop: The image of each crop.
        matrices: `[N,2,3]` from image to crop pixels, on the images' device.
        side: Of the crops, in pixels.
    """
    inverse = invert_affine(matrices.to(widest_float(images.device)))
    shape = (len(image_of_crop), side, side, 3)
    pixels = torch.empty(shape, dtype=torch.float32, device=images.device)
    source, source_place = images[:0], -1
    for row, image in enumerate(image_of_crop):
        if image != source_place:  # once an image: it may be a copy
            source, source_place = images[image : image + 1].float(), image
        one = inverse[row : row + 1]
        for top, bottom in _strips(0, side, side):
            advance((row + top / side) / len(image_of_crop))
            at = apply_affine(one, _pixels((0, top, side, bottom), one))
            at = at.view(1, bottom - top, side, 2)
            pixels[row, top:bottom] = sampled(source, at)[0]
    sizes = ((images.shape[1], images.shape[2]),) * len(images)
    return CropBatch(pixels, matrices, image_of_crop, sizes)


def paste(
    images: Tensor, crops: CropBatch, edited: Tensor, feather: float
) -> tuple[Tensor, Tensor]:
    """Puts crops back to where they were cut, with an edge that fades.

    A crop has other pixels than the image, so what comes back of an unchanged one would be
    slightly blurred. Where nothing was changed, the image's own pixels stay.

    Args:
        images: `[B,H,W,3]` floating 0..1, those that were cut.
        crops: As `cut` gave them.
        edited: `[N,s,s,3]` floating 0..1 on any device; may be larger or smaller than the crops.
        feather: Width of the soft edge in sides of the crop, 0..0.5.

    Returns:
        New images `[B,H,W,3]` float32, and masks `[B,H,W]` of what was pasted, on their device.

    Raises:
        InvalidInput: There is not one edited crop for each that was cut.
    """
    if (
        edited.ndim != 4
        or len(edited) != len(crops)
        or (len(edited) and edited.shape[1] != edited.shape[2])
    ):
        raise InvalidInput(
            f"got crops of shape {tuple(edited.shape)}, expected {len(crops)} square ones as "
            "FastFace Crop gave them; edit them, but keep their number and order"
        )
    result = images.float().clone()
    masks = result.new_zeros(result.shape[:3])
    # Backwards: where faces overlap, the one with the best score is on top.
    for row in reversed(range(len(crops))):
        advance(1 - (row + 1) / len(crops))
        image = crops.image_of_crop[row]
        _paste_one(result[image], masks[image], crops, row, edited[row : row + 1], feather)
    return result, masks


def _paste_one(
    image: Tensor, mask: Tensor, crops: CropBatch, row: int, edited: Tensor, feather: float
) -> None:
    """Pastes one crop into its image `[H,W,3]`, and into its mask `[H,W]`."""
    matrix = crops.matrices[row : row + 1].to(image.device, widest_float(image.device))
    side = crops.pixels.shape[1]
    ends = matrix.new_tensor([[[-0.5, -0.5], [side, -0.5], [-0.5, side], [side, side]]])
    corners = apply_affine(invert_affine(matrix), ends)[0]
    if not bool(corners.isfinite().all()):
        return  # of points that coincide nothing was cut
    height, width = image.shape[:2]
    low, high = corners.amin(0).floor().int().tolist(), corners.amax(0).ceil().int().tolist()
    left, top = (max(0, value) for value in low)
    right, bottom = min(width, high[0] + 1), min(height, high[1] + 1)
    if left >= right or top >= bottom:
        return
    new, old = edited.to(image.device).float(), crops.pixels[row : row + 1].to(image.device)
    for strip_top, strip_bottom in _strips(top, bottom, right - left):
        may_stop()
        region = (left, strip_top, right, strip_bottom)
        _paste_region(image, mask, matrix, old, new, region, feather)


def _paste_region(
    image: Tensor,
    mask: Tensor,
    matrix: Tensor,
    cut_crop: Tensor,
    edited: Tensor,
    ltrb: tuple[int, int, int, int],
    feather: float,
) -> None:
    """Pastes what of a crop lies in a region of its image (left, top, right, bottom)."""
    left, top, right, bottom = ltrb
    side = cut_crop.shape[1]
    at = apply_affine(matrix, _pixels(ltrb, matrix))
    at = at.view(1, bottom - top, right - left, 2)
    ratio = edited.shape[1] / side
    new = sampled(edited, (at + 0.5) * ratio - 0.5)[0]
    old = sampled(cut_crop, at)[0]
    region = image[top:bottom, left:right]
    # The edge is measured from the centres of the outermost pixels: beyond them is no picture.
    inset = torch.minimum(at, side - 1 - at).amin(-1)[0]
    width_px = max(feather * side, 1e-3)
    alpha = (inset / width_px).clamp(0, 1).to(region.dtype) * (inset >= 0)
    alpha = (alpha * alpha * (3 - 2 * alpha))[..., None]
    kept = (1 - (new - old).abs().amax(-1, keepdim=True) / _CHANGE).clamp(min=0)
    region += alpha * (new + kept * (region - old) - region)
    covered = mask[top:bottom, left:right]
    torch.maximum(covered, alpha[..., 0], out=covered)


def sampled(images: Tensor, at: Tensor) -> Tensor:
    """Bilinear samples of images, black outside.

    Args:
        images: `[B,H,W,C]` floating.
        at: `[B,h,w,2]` x, y in pixels, centres at whole numbers.

    Returns:
        `[B,h,w,C]` float32.
    """
    size_wh = at.new_tensor([images.shape[2], images.shape[1]])
    grid = ((at * 2 + 1) / size_wh - 1).float()
    planes = images.permute(0, 3, 1, 2).float()
    taken = torch.nn.functional.grid_sample(planes, grid, align_corners=False)
    return taken.permute(0, 2, 3, 1)


def _strips(first: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows `first..stop` of this many pixels each, as many at once as may be sampled at once."""
    step = max(1, _PIXELS_AT_ONCE // max(1, width))
    for top in range(first, stop, step):
        yield top, min(stop, top + step)


def _pixels(region: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """Centres of all pixels of a region (left, top, right, bottom), `[N,h*w,2]`."""
    left, top, right, bottom = region
    y, x = torch.meshgrid(
        torch.arange(top, bottom, dtype=like.dtype, device=like.device),
        torch.arange(left, right, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack((x, y), -1).view(1, -1, 2).expand(len(like), -1, -1)
