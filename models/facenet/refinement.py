"""Second and third stage: RNet and ONet look at each box again."""

from __future__ import annotations

import torch
from torch import Tensor

from ...backends.interfaces import Session
from ...utils.area import area_crops
from ...utils.progress import advance
from ...utils.suppression import overlap_of_smaller, suppress_groups
from .proposals import Proposals, normalised

_NMS_THRESHOLD = 0.7
RNET_SIDE, ONET_SIDE = 24, 48

#: Pixels of crops that a network is given at once; for the reason, see `proposals`.
_PIXELS_ON_CPU = 40_000
_PIXELS_ON_GPU = 8_000_000


def refine(rnet: Session, table: Tensor, found: Proposals, threshold: float) -> Proposals:
    """What RNet still takes for faces, by image, best first; boxes moved, not yet square.

    Args:
        rnet: Gives offsets `[N,4]` and probabilities `[N,2]`.
        table: `[B,H+1,W+1,3]` from `summed_area_table`, of RGB images.
        found: What the first stage found.
        threshold: A face scores more than this, 0..1.

    Source:
        facenet-pytorch 2.6, `detect_face`, second stage.
    """
    found, pixels = _squares(table, found)
    if len(found) == 0:
        return found
    offsets, probability = _looked_at(rnet, table, found, pixels, RNET_SIDE)
    score = probability[:, 1]
    passed = (score > threshold).nonzero()[:, 0]
    found = Proposals(found.boxes[passed], score[passed], found.image_index[passed])
    keep = suppress_groups(found.boxes, found.scores, found.image_index, len(table), _NMS_THRESHOLD)
    found = found[keep]
    return Proposals(moved(found.boxes, offsets[passed[keep]]), found.scores, found.image_index)


def finish(
    onet: Session, table: Tensor, found: Proposals, threshold: float
) -> tuple[Proposals, Tensor]:
    """What ONet still takes for faces, by image, best first, and their landmarks `[N,5,2]`.

    Args:
        onet: Gives offsets `[N,4]`, landmarks `[N,10]` and probabilities `[N,2]`.
        table, found, threshold: As for `refine`.

    Source:
        facenet-pytorch 2.6, `detect_face`, third stage.
    """
    found, pixels = _squares(table, found)
    if len(found) == 0:
        return found, found.boxes.new_zeros(0, 5, 2)
    offsets, points, probability = _looked_at(onet, table, found, pixels, ONET_SIDE)
    score = probability[:, 1]
    passed = (score > threshold).nonzero()[:, 0]
    boxes = found.boxes[passed]
    # All x come before all y.
    shares = points[passed].view(-1, 2, 5).mT
    landmarks = shares * _sides(boxes)[:, None] + boxes[:, None, :2] - 1
    found = Proposals(moved(boxes, offsets[passed]), score[passed], found.image_index[passed])
    keep = suppress_groups(
        found.boxes,
        found.scores,
        found.image_index,
        len(table),
        _NMS_THRESHOLD,
        overlap_of_smaller,
    )
    return found[keep], landmarks[keep]


def moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes `[N,4]` moved by offsets `[N,4]` in shares of their sides.

    Source:
        facenet-pytorch 2.6, `bbreg`.
    """
    return boxes + offsets * _sides(boxes).repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """The square around the centre of each of `boxes [N,4]`, as large as its longer side.

    Source:
        facenet-pytorch 2.6, `rerec`.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.amax(1, keepdim=True)
    corner = boxes[:, :2] + sides * 0.5 - longest * 0.5
    return torch.cat((corner, corner + longest), 1)


def whole_pixels(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The pixels of an image that boxes cover: `[N,4]` int64 left, top, right, bottom.

    The last two are not part of it. A box with nothing inside the image gets no positive area.

    Source:
        facenet-pytorch 2.6, `pad`, which counts pixels from 1.
    """
    edges = boxes.trunc().long()
    limit = torch.tensor((size_hw[1], size_hw[0]), device=boxes.device)
    return torch.cat((edges[:, :2].clamp(min=1) - 1, torch.minimum(edges[:, 2:], limit)), 1)


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2] + 1


def _squares(table: Tensor, found: Proposals) -> tuple[Proposals, Tensor]:
    """The squares around boxes that show something, and their whole pixels."""
    boxes = squared(found.boxes)
    pixels = whole_pixels(boxes, (table.shape[1] - 1, table.shape[2] - 1))
    rows = (pixels[:, 2:] > pixels[:, :2]).all(1).nonzero()[:, 0]
    return Proposals(boxes[rows], found.scores[rows], found.image_index[rows]), pixels[rows]


def _looked_at(
    network: Session, table: Tensor, found: Proposals, pixels: Tensor, side: int
) -> list[Tensor]:
    """The results of a network for crops of whole pixels."""
    step = (_PIXELS_ON_CPU if table.device.type == "cpu" else _PIXELS_ON_GPU) // side**2
    parts = []
    for first in range(0, len(found), step):
        rows = slice(first, first + step)
        crops = area_crops(table, found.image_index[rows], pixels[rows], side)
        parts.append(network.run(normalised(crops)))
        advance(min(first + step, len(found)) / len(found))
    return [torch.cat(results) for results in zip(*parts, strict=True)]
