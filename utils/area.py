"""Area resampling from sums: a level of a pyramid, or any number of crops, in one gather.

Whatever the size of what is shrunk, a pixel of the result is read from four corners of a table of
sums. The table is made once for all levels and all crops of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pixels import opencv_is_there
from .progress import may_stop


def summed_area_table(pixels: Tensor) -> Tensor:
    """The sum of everything above and left of each pixel corner, channel by channel.

    Args:
        pixels: `[B,H,W,C]` uint8 on any device.

    Returns:
        `[B,H+1,W+1,C]` int32 on the same device. Sums of large bright images wrap around; that
        cancels out in the difference of corners.

    Source:
        Crow, "Summed-area tables for texture mapping", SIGGRAPH 1984.
    """
    batch, height, width, channels = pixels.shape
    table = torch.zeros(
        batch, height + 1, width + 1, channels, dtype=torch.int32, device=pixels.device
    )
    if pixels.device.type == "cpu" and opencv_is_there():
        import cv2

        for image, sums in zip(pixels.numpy(), table.numpy(), strict=True):
            may_stop()
            cv2.integral(image, sum=sums, sdepth=cv2.CV_32S)
        return table
    table[:, 1:, 1:] = pixels.cumsum(2, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    return table


def area_resize(
    table: Tensor, size_hw: tuple[int, int], rows: tuple[int, int] | None = None
) -> Tensor:
    """Images shrunk to a size, each pixel the mean of all source pixels that it touches.

    Args:
        table: `[B,H+1,W+1,C]` from `summed_area_table`.
        size_hw: Height and width of the result.
        rows: First row to make, and the one to stop before; by default all.

    Returns:
        `[B,C,rows,width]` float32 0..255, channels last in memory; what
        `torch.nn.functional.interpolate(mode="area")` gives.
    """
    height, width = size_hw
    first, stop = rows or (0, height)
    top, bottom = _cell_edges(table.shape[1] - 1, height, first, stop, table.device)
    left, right = _cell_edges(table.shape[2] - 1, width, 0, width, table.device)
    strips = table.index_select(1, bottom).sub_(table.index_select(1, top))
    sums = strips.index_select(2, right).sub_(strips.index_select(2, left))
    counts = (bottom - top)[:, None] * (right - left)
    return sums.float().div_(counts[..., None]).permute(0, 3, 1, 2)


def area_crops(table: Tensor, image_index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Boxes cut out of images and resampled to squares, all in one gather.

    Args:
        table: `[B,H+1,W+1,C]` from `summed_area_table`.
        image_index: `[N]` int64, the image of each box.
        boxes: `[N,4]` int64 left, top, right, bottom; the last two are not part of the box. Inside
            the image, with at least one pixel.
        size: Side of the crops in pixels.

    Returns:
        `[N,C,size,size]` float32 0..255, channels last in memory; what
        `torch.nn.functional.interpolate(mode="area")` gives for each box.
    """
    stride = table.shape[2]
    step = torch.arange(size, device=table.device)
    start, length = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[..., None]
    low = start + step * length // size
    high = start + -((step + 1) * -length // size)
    left, top = low.unbind(1)
    right, bottom = high.unbind(1)
    origin = (image_index * (table.shape[1] * stride))[:, None]
    top_line, bottom_line = origin + top * stride, origin + bottom * stride
    flat = table.view(-1, table.shape[3])

    def corners(line: Tensor, column: Tensor) -> Tensor:
        return flat.index_select(0, (line[:, :, None] + column[:, None]).view(-1))

    sums = corners(bottom_line, right).sub_(corners(top_line, right))
    sums.sub_(corners(bottom_line, left)).add_(corners(top_line, left))
    counts = (bottom - top)[:, :, None] * (right - left)[:, None]
    crops = sums.view(len(boxes), size, size, flat.shape[1]).float()
    return crops.div_(counts[..., None]).permute(0, 3, 1, 2)


def _cell_edges(
    source: int, target: int, first: int, stop: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where the source pixels of each target pixel begin and end, for some of the targets."""
    step = torch.arange(first, stop, device=device)
    return step * source // target, -((step + 1) * -source // target)
