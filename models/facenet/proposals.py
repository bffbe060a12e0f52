"""First stage: PNet looks at every place of every level of the pyramid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ...backends.interfaces import Session
from ...utils.area import area_resize
from ...utils.progress import advance
from ...utils.suppression import suppress_groups

#: PNet sees squares of this many pixels, two pixels apart.
CELL = 12
STRIDE = 2
_NMS_OF_LEVEL = 0.5
_NMS_OF_IMAGE = 0.7

#: Pixels of a level that PNet is given at once. On the CPU what it makes of them then stays in the
#: cache, and is not fetched from the system and given back each time: five times as fast.
_PIXELS_ON_CPU = 100_000
_PIXELS_ON_GPU = 8_000_000


@dataclass(frozen=True)
class Proposals:
    """Boxes that may hold a face.

    Attributes:
        boxes: `[N,4]` float32 xyxy in pixels of the source images.
        scores: `[N]` float32, 0..1.
        image_index: `[N]` int64.
    """

    boxes: Tensor
    scores: Tensor
    image_index: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor) -> Proposals:
        return Proposals(self.boxes[rows], self.scores[rows], self.image_index[rows])


def pyramid_scales(size_hw: tuple[int, int], min_face_size: int, factor: float) -> list[float]:
    """Scale of each level, so that the smallest face fills PNet's square on the first.

    Source:
        facenet-pytorch 2.6, `detect_face`.
    """
    scale = CELL / min_face_size
    shorter_side = min(size_hw) * scale
    scales = []
    while shorter_side >= CELL:
        scales.append(scale)
        scale *= factor
        shorter_side *= factor
    return scales


def level_size(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of a level in pixels."""
    return int(size_hw[0] * scale + 1), int(size_hw[1] * scale + 1)


def normalised(pixels: Tensor) -> Tensor:
    """0..255 to what the networks were trained on."""
    return pixels.sub_(127.5).mul_(0.0078125)


def propose(pnet: Session, table: Tensor, scales: list[float], threshold: float) -> Proposals:
    """What PNet takes for faces, all levels of all images together.

    Args:
        pnet: Gives offsets `[B,4,h,w]` and probabilities `[B,2,h,w]`.
        table: `[B,H+1,W+1,3]` from `summed_area_table`, of RGB images.
        scales: From `pyramid_scales`.
        threshold: Lowest probability, 0..1.

    Returns:
        By image, best first, moved by PNet's offsets; not yet square.

    Source:
        facenet-pytorch 2.6, `detect_face`, first stage.
    """
    images = len(table)
    shares = _shares_done(_source_hw(table), scales)
    boxes, scores, offsets, image_index, level_index = [], [], [], [], []
    for level, scale in enumerate(scales):
        for first_image, first_row, done, results in _runs(pnet, table, scale):
            regression, probability = results
            image, row, column = (probability[:, 1] >= threshold).nonzero(as_tuple=True)
            scores.append(probability[image, 1, row, column])
            offsets.append(regression[image, :, row, column])
            corner = torch.stack((column, row + first_row), 1).to(regression.dtype) * STRIDE
            boxes.append(
                torch.cat((((corner + 1) / scale).floor(), ((corner + CELL) / scale).floor()), 1)
            )
            image_index.append(image + first_image)
            level_index.append(torch.full_like(image, level))
            advance(shares[level] + (shares[level + 1] - shares[level]) * done)
    found = Proposals(torch.cat(boxes), torch.cat(scores), torch.cat(image_index))
    offset = torch.cat(offsets)
    # Level by level: groups of like size are suppressed together.
    group = torch.cat(level_index) * images + found.image_index
    keep = suppress_groups(found.boxes, found.scores, group, images * len(scales), _NMS_OF_LEVEL)
    found, offset = found[keep], offset[keep]
    keep = suppress_groups(found.boxes, found.scores, found.image_index, images, _NMS_OF_IMAGE)
    found, offset = found[keep], offset[keep]
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).repeat(1, 2)
    return Proposals(found.boxes + offset * sides, found.scores, found.image_index)


def _source_hw(table: Tensor) -> tuple[int, int]:
    return table.shape[1] - 1, table.shape[2] - 1


def _shares_done(source_hw: tuple[int, int], scales: list[float]) -> list[float]:
    """What of all levels' pixels lies before each level, and 1 at the end."""
    pixels = [math.prod(level_size(source_hw, scale)) for scale in scales]
    return [done / sum(pixels) for done in accumulate(pixels, initial=0)]


def _runs(
    pnet: Session, table: Tensor, scale: float
) -> Iterator[tuple[int, int, float, tuple[Tensor, ...]]]:
    """Runs PNet on one level, piece by piece.

    Yields:
        First image, first row of its results, the share of the level that is done then, results.
    """
    height, width = size_hw = level_size(_source_hw(table), scale)
    at_once = _PIXELS_ON_CPU if table.device.type == "cpu" else _PIXELS_ON_GPU
    images = max(1, at_once // (height * width))
    # Two convolutions, a pooling that rounds up, and two convolutions more.
    result_rows = -((height - 2) // -STRIDE) - 4
    rows = result_rows
    if height * width > at_once:
        rows = max(1, (at_once // width - CELL + STRIDE) // STRIDE)
    for first in range(0, len(table), images):
        some = table[first : first + images]
        for row in range(0, result_rows, rows):
            stop = min(height, (row + rows) * STRIDE + CELL - STRIDE)
            if row + rows >= result_rows:
                stop = height
            level = area_resize(some, size_hw, (row * STRIDE, stop))
            results = pnet.run(normalised(level))
            some_done = min(1.0, (row + rows) / result_rows) * len(some)
            yield first, row, (first + some_done) / len(table), results
