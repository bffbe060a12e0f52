"""Overlap and suppression of boxes, with InsightFace's conventions, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

#: Boxes of one image whose overlaps are worked out at once.
_NMS_BLOCK = 256


def box_areas(boxes: Tensor) -> Tensor:
    """Width times height `[...]` of `boxes [...,4]` xyxy, in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every pair, with sides one pixel longer.

    Args:
        boxes: `[...,K,4]` float32 xyxy in pixels.
        others: `[...,L,4]` likewise.

    Returns:
        `[...,K,L]`; NaN where neither box has an area.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.nms` (areas as `(x2 - x1 + 1)`).
    """
    # One coordinate at a time: four times faster than along a last axis of two.
    left, top, right, bottom = boxes[..., :, None, :].unbind(-1)
    other_left, other_top, other_right, other_bottom = others[..., None, :, :].unbind(-1)
    width = torch.minimum(right, other_right) - torch.maximum(left, other_left) + 1
    height = torch.minimum(bottom, other_bottom) - torch.maximum(top, other_top) + 1
    shared = width.clamp(min=0) * height.clamp(min=0)
    areas = (right - left + 1) * (bottom - top + 1)
    other_areas = (other_right - other_left + 1) * (other_bottom - other_top + 1)
    return shared / (areas + other_areas - shared)


def batched_nms(
    boxes: Tensor, scores: Tensor, image_index: Tensor, images: int, threshold: float
) -> Tensor:
    """Greedy non-maximum suppression within each image.

    Boxes of equal score keep their order, as with the stable sort of the original.

    Args:
        boxes: `[N,4]` float32 xyxy in pixels.
        scores: `[N]`.
        image_index: `[N]` int64, 0-based.
        images: Number of images.
        threshold: Overlap above which the box of lower score is dropped.

    Returns:
        `[K]` int64 rows that stay, grouped by image, best score first within each.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[torch.sort(image_index[order], stable=True).indices]
    counts = torch.bincount(image_index, minlength=images)
    widest = int(counts.max()) if images and len(boxes) else 0
    if widest == 0:
        return order
    # One padded row of boxes an image, so that all images are suppressed together.
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=order.device) - starts[image_index[order]]
    slot = image_index[order] * widest + rank
    padded = boxes.new_zeros(images * widest, 4).index_copy_(0, slot, boxes[order])
    present = torch.zeros(images * widest, dtype=torch.bool, device=boxes.device)
    present[slot] = True
    keep = _greedy_keep(padded.view(images, widest, 4), present.view(images, widest), threshold)
    return order[keep.view(-1)[slot]]


def _greedy_keep(boxes: Tensor, present: Tensor, threshold: float) -> Tensor:
    """Which of `boxes [B,K,4]`, sorted by falling score, survive: `[B,K]` bool.

    Block by block, because the overlaps of all pairs at once would fill the memory when a very low
    threshold lets every anchor pass.
    """
    keep = torch.zeros_like(present)
    for start in range(0, present.shape[1], _NMS_BLOCK):
        block = slice(start, start + _NMS_BLOCK)
        here, candidates = boxes[:, block], present[:, block]
        if start:
            beaten = _beats(boxes[:, :start], here, threshold) & keep[:, :start, None]
            candidates = candidates & ~beaten.any(1)
        keep[:, block] = _settle(_beats(here, here, threshold).triu(1), candidates)
    return keep


def _beats(better: Tensor, boxes: Tensor, threshold: float) -> Tensor:
    """Which of `better [B,K,4]` would drop which of `boxes [B,L,4]`: `[B,K,L]` bool."""
    # Not "more than": boxes turned inside out have no area, and the original drops on NaN.
    return ~(overlaps(better, boxes) <= threshold)


def _settle(beats: Tensor, candidates: Tensor) -> Tensor:
    """Greedy suppression among `candidates [B,K]` of which `beats [B,K,K]` says who drops whom.

    It is the fixed point of "a box stays if no staying better box overlaps it"; iterating from "all
    stay" reaches it after as many rounds as the longest chain of overlaps.
    """
    keep = candidates
    while True:
        settled = candidates & ~(beats & keep[:, :, None]).any(1)
        if torch.equal(settled, keep):
            return keep
        keep = settled


def largest_or_central(
    boxes: Tensor, image_hw: tuple[int, int], limit: int, metric: str = "default"
) -> Tensor:
    """The rows of one image's boxes that InsightFace keeps when asked for at most `limit` faces.

    Args:
        boxes: `[N,4]` float32 xyxy in pixels of one image.
        image_hw: Height and width of that image.
        limit: How many to keep, at least 1.
        metric: `max` prefers large boxes; anything else weighs distance from the centre too.

    Returns:
        `[min(N, limit)]` int64 rows, best first. Of boxes of equal value the earlier row comes
        first; in the original their order is left to chance.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.detect`.
    """
    value = box_areas(boxes)
    if metric != "max":
        centre = boxes.new_tensor([image_hw[1] // 2, image_hw[0] // 2])
        offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - centre
        value = value - offset.square().sum(1) * 2.0
    return torch.sort(value, descending=True, stable=True).indices[:limit]
