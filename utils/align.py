"""Face alignment: similarity transforms in closed form and one batched warp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .cutting import cut_faces
from .devices import uploaded, widest_float
from .images import ImageBatch, Images
from .pixels import opencv_is_there, quantised

#: ArcFace's five points for a 112 x 112 crop. Source: insightface 2.1, `utils/face_align.py`.
ARCFACE_TEMPLATE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def arcface_template(size: int, device: torch.device | str = "cpu") -> Tensor:
    """The five target points `[5,2]` of an aligned crop of `size` pixels, in `widest_float`.

    Multiples of 112 scale ArcFace's template; other sizes scale it as laid out for 128 pixels,
    with 8 more at each side, as InsightFace's `estimate_norm` does.
    """
    points = torch.tensor(ARCFACE_TEMPLATE_112, dtype=widest_float(device))
    points = uploaded(points, torch.device(device))
    if size % 112 == 0:
        return points * (size / 112)
    ratio = size / 128
    points *= ratio
    points[:, 0] += 8.0 * ratio
    return points


def similarity_transform(source: Tensor, target: Tensor) -> Tensor:
    """The rotation, scale and shift that bring points nearest to others, in closed form.

    Args:
        source: `[N,K,2]` points x, y in pixels.
        target: `[K,2]`, or `[N,K,2]` for each its own: where they should be.

    Returns:
        `[N,2,3]` matrices in `widest_float` that map source to target.

    Source:
        Umeyama, "Least-squares estimation of transformation parameters between two point
        patterns", PAMI 13(4), 1991; in two dimensions its rotation needs no decomposition.
    """
    source = source.to(widest_float(source.device))
    target = target.to(source)
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    s, t = source - source_mean, target - target_mean
    # Coinciding points have no scale; the tiny floor gives a finite transform instead of NaN.
    spread = s.square().sum((-2, -1)).clamp(min=1e-12)
    a = (s * t).sum((-2, -1)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(-1) / spread
    linear = torch.stack((torch.stack((a, -b), -1), torch.stack((b, a), -1)), -2)
    shift = target_mean[..., 0, :] - (linear @ source_mean.mT)[..., 0]
    return torch.cat((linear, shift[..., None]), -1)


def centred_square(boxes: Tensor, size: int, expansion: float = 1.5) -> Tensor:
    """Matrices `[N,2,3]` that bring the expanded square around each box to `size` pixels.

    Args:
        boxes: `[N,4]` xyxy in pixels.
        size: Side of the crop in pixels.
        expansion: Side of the square over the longer side of the box.

    Source:
        insightface 2.1, `utils/face_align.py`, `transform` with no rotation.
    """
    boxes = boxes.to(widest_float(boxes.device))
    sides = (boxes[:, 2:] - boxes[:, :2]).amax(1).clamp(min=1e-6)
    scale = size / (sides * expansion)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    matrices = boxes.new_zeros(len(boxes), 2, 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, :, 2] = size / 2 - centre * scale[:, None]
    return matrices


def invert_affine(matrices: Tensor) -> Tensor:
    """Inverses `[N,2,3]` of affine matrices `[N,2,3]`; not finite where there is none."""
    # Written out, because `linalg.inv` wakes torch's threads even for one matrix of two by two.
    (a, b), (c, d) = (row.unbind(-1) for row in matrices[:, :, :2].unbind(1))
    adjugate = torch.stack((d, -b, -c, a), -1)
    linear = (adjugate / (a * d - b * c)[:, None]).unflatten(-1, (2, 2))
    return torch.cat((linear, -(linear @ matrices[:, :, 2:])), -1)


def apply_affine(matrices: Tensor, points: Tensor) -> Tensor:
    """Points `[N,K,2]` mapped by matrices `[N,2,3]`, in the points' dtype."""
    matrices = matrices.to(points.dtype)
    return points @ matrices[:, :, :2].mT + matrices[:, :, 2][:, None]


def warp(batch: ImageBatch, rows: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Cuts square crops out of images by affine maps: bilinear, black outside the image.

    The cost follows the crops, not the images: no image is copied or converted as a whole.

    Args:
        batch: `[B,H,W,3]`.
        rows: `[N]` int64, the image of each crop, a row of the batch.
        matrices: `[N,2,3]` from source pixels to crop pixels (pixel centres at whole numbers), in
            `widest_float`: coordinates are as exact as these.
        size: Side of the crops in pixels.

    Returns:
        `[N,size,size,3]` uint8 in the batch's own channel order, what `cv2.warpAffine` gives for
        8-bit images.
    """
    if matrices.device.type == "cpu" and opencv_is_there():
        return _warp_by_opencv(batch, rows, matrices, size)
    return warp_by_taps(batch, rows, matrices, size)


def _warp_by_opencv(batch: ImageBatch, rows: Tensor, matrices: Tensor, size: int) -> Tensor:
    """OpenCV itself, thirty times faster on the CPU than the same in torch."""
    import cv2

    crops = np.zeros((len(matrices), size, size, 3), dtype=np.uint8)
    corners = apply_affine(invert_affine(matrices), _corners(size, matrices)).numpy()
    # Of points that coincide there is nothing to see, which is far outside.
    corners[~np.isfinite(corners).all((1, 2))] = -9.0
    # Only what a crop sees, with the neighbours of its outermost taps, is made 8-bit.
    limit = batch.size_hw[::-1]
    low = np.clip(np.floor(corners.min(1)) - 1, 0, limit)
    high = np.clip(np.ceil(corners.max(1)) + 2, 0, limit)
    moved = matrices.numpy().copy()
    moved[:, :, 2:] += moved[:, :, :2] @ low[:, :, None]
    regions = np.hstack((low, high)).astype(int).tolist()
    for row, matrix, (left, top, right, bottom), crop in zip(
        rows.tolist(), moved, regions, crops, strict=True
    ):
        if left < right and top < bottom:
            region = quantised(batch.pixels[row, top:bottom, left:right]).numpy()
            cv2.warpAffine(region, matrix, (size, size), dst=crop)
    return torch.from_numpy(crops)


def _corners(size: int, matrices: Tensor) -> Tensor:
    """Centres of the corner pixels of every crop, `[N,4,2]`."""
    end = size - 1.0
    corners = matrices.new_tensor([[0.0, 0.0], [end, 0.0], [0.0, end], [end, end]])
    return corners.expand(len(matrices), -1, -1)


def warp_by_taps(batch: ImageBatch, rows: Tensor, matrices: Tensor, size: int) -> Tensor:
    """`warp` in torch operations; public so that it can be held against OpenCV anywhere.

    The four neighbours of every crop pixel are gathered straight from the images.

    Returns:
        `[N,size,size,3]` uint8 in the batch's own channel order.

    Source:
        OpenCV 5, `warpAffine` with INTER_LINEAR and a constant border of 0; version 4 rounds
        coordinates to 1/32 pixel.
    """
    height, width = batch.size_hw
    inverse = invert_affine(matrices)
    steps = torch.arange(size, dtype=matrices.dtype, device=matrices.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack((x, y), -1).view(1, -1, 2).expand(len(matrices), -1, -1)
    at = apply_affine(inverse, grid)
    # Far outside is all black; the clamp keeps the index arithmetic in range.
    at = torch.nan_to_num(at, nan=-4.0).clamp(-4.0, max(height, width) + 4.0)
    corner = at.floor()
    weight = (at - corner).float()
    corner = corner.long()
    crops = torch.zeros(len(matrices), size * size, 3, dtype=torch.float32, device=matrices.device)
    for dy in (0, 1):
        for dx in (0, 1):
            column, line = corner[..., 0] + dx, corner[..., 1] + dy
            inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
            taps = quantised(
                batch.pixels[rows[:, None], line.clamp(0, height - 1), column.clamp(0, width - 1)]
            )
            share_x = weight[..., 0] if dx else 1 - weight[..., 0]
            share_y = weight[..., 1] if dy else 1 - weight[..., 1]
            crops += taps * (share_x * share_y * inside)[..., None]
    return crops.clamp_(0, 255).round_().to(torch.uint8).view(-1, size, size, 3)


def crop_faces(
    images: Images, image_of_face: Sequence[int], matrices: Tensor, size: int
) -> ImageBatch:
    """`warp` over images of any sizes: one crop `[size,size,3]` a face, on the matrices' device.

    Args:
        images: Any sizes, any device.
        image_of_face: The image of each face, N numbers.
        matrices: `[N,2,3]` from source to crop pixels.
        size: Side of the crops in pixels.

    Raises:
        InvalidInput: There is no such image.
    """
    return cut_faces(
        images,
        image_of_face,
        size,
        matrices.device,
        lambda batch, rows, chosen: warp(batch, rows, matrices[chosen], size),
    )
