"""Greedy suppression within groups of boxes, with the overlaps that MTCNN uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .boxes import greedy_keep
from .progress import may_stop

#: `[G,K,4]`, `[G,L,4]` xyxy -> the overlap of every pair `[G,K,L]`.
Overlap = Callable[[Tensor, Tensor], Tensor]

#: Boxes of one group, and groups, whose overlaps are worked out at once.
_BLOCK = 256
_GROUPS_AT_ONCE = 64


def overlap_of_union(boxes: Tensor, others: Tensor) -> Tensor:
    """Shared area over the area of both boxes together; sides are differences of coordinates.

    Source:
        torchvision, `ops.nms`.
    """
    shared, areas, other_areas = _areas(boxes, others, 0)
    return shared / (areas + other_areas - shared)


def overlap_of_smaller(boxes: Tensor, others: Tensor) -> Tensor:
    """Shared area over the area of the smaller box; sides are one pixel longer.

    Source:
        facenet-pytorch 2.6, `nms_numpy` with the method "Min".
    """
    shared, areas, other_areas = _areas(boxes, others, 1)
    return shared / torch.minimum(areas, other_areas)


def _areas(boxes: Tensor, others: Tensor, extra: int) -> tuple[Tensor, Tensor, Tensor]:
    left, top, right, bottom = boxes[..., :, None, :].unbind(-1)
    other_left, other_top, other_right, other_bottom = others[..., None, :, :].unbind(-1)
    width = torch.minimum(right, other_right) - torch.maximum(left, other_left) + extra
    height = torch.minimum(bottom, other_bottom) - torch.maximum(top, other_top) + extra
    shared = width.clamp(min=0) * height.clamp(min=0)
    areas = (right - left + extra) * (bottom - top + extra)
    other_areas = (other_right - other_left + extra) * (other_bottom - other_top + extra)
    return shared, areas, other_areas


def suppress_groups(
    boxes: Tensor,
    scores: Tensor,
    group: Tensor,
    groups: int,
    threshold: float,
    overlap: Overlap = overlap_of_union,
) -> Tensor:
    """Drops boxes that overlap a better one of their group that stays.

    Args:
        boxes: `[N,4]` float32 xyxy in pixels.
        scores: `[N]`.
        group: `[N]` int64, 0-based; boxes of different groups do not compete.
        groups: Number of groups.
        threshold: Overlap above which the box of lower score is dropped.
        overlap: How it is measured.

    Returns:
        `[K]` int64 rows that stay, by group, best score first within each; of equal scores the
        earlier row first.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[torch.sort(group[order], stable=True).indices]
    counts = torch.bincount(group, minlength=groups).tolist()
    keep_of = _by_torchvision if _torchvision_is_faster(boxes, overlap) else _by_rounds
    parts, start = [], 0
    step = 1 if keep_of is _by_torchvision else _GROUPS_AT_ONCE
    for first in range(0, groups, step):
        may_stop()
        some = counts[first : first + step]
        rows = order[start : start + sum(some)]
        start += len(rows)
        if len(rows):
            parts.append(rows[keep_of(boxes[rows], scores[rows], some, threshold, overlap)])
    return torch.cat(parts) if parts else order


def _torchvision_is_faster(boxes: Tensor, overlap: Overlap) -> bool:
    """On the CPU it compares a box with those that stay, where tensors compare all pairs."""
    return boxes.device.type == "cpu" and overlap is overlap_of_union


def _by_torchvision(
    boxes: Tensor, scores: Tensor, counts: list[int], threshold: float, overlap: Overlap
) -> Tensor:
    """The rows of one sorted group that stay."""
    from torchvision.ops import nms

    return nms(boxes, scores, threshold)


def _by_rounds(
    boxes: Tensor, scores: Tensor, counts: list[int], threshold: float, overlap: Overlap
) -> Tensor:
    """Which of the boxes `[N,4]` stay, sorted by group and falling score: `[N]` bool."""
    widest = max(counts)
    sizes = torch.tensor(counts, device=boxes.device)
    present = torch.arange(widest, device=boxes.device) < sizes[:, None]
    padded = boxes.new_zeros(len(counts), widest, 4)
    padded[present] = boxes
    keep, _ = greedy_keep(padded, present, lambda better, box: overlap(better, box) > threshold)
    return keep[present]
