"""Overlap and suppression of boxes, with InsightFace's conventions, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .devices import uploaded
from .progress import may_stop

#: `[B,K,4]`, `[B,L,4]` xyxy -> which of the first would drop which of the second, `[B,K,L]` bool.
Beats = Callable[[Tensor, Tensor], Tensor]

#: Boxes of one image whose overlaps are worked out at once.
_NMS_BLOCK = 256
#: Better boxes that those are held against at once.
_NMS_EARLIER = 4096


def box_areas(boxes: Tensor) -> Tensor:
    """Width times height `[...]` of `boxes [...,4]` xyxy, in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlaps(boxes: Tensor, others: Tensor, excess_px: float = 1.0) -> Tensor:
    """Intersection over union of every pair.

    Args:
        boxes: `[...,K,4]` float32 xyxy in pixels.
        others: `[...,L,4]` likewise.
        excess_px: How much longer sides count than the coordinates say: 1 as in InsightFace.

    Returns:
        `[...,K,L]`; NaN where neither box has an area.

    Source:
        insightface 2.1, `model_zoo/scrfd.py`, `SCRFD.nms` (areas as `(x2 - x1 + 1)`).
    """
    # One coordinate at a time: four times faster than along a last axis of two.
    left, top, right, bottom = boxes[..., :, None, :].unbind(-1)
    other_left, other_top, other_right, other_bottom = others[..., None, :, :].unbind(-1)
    width = torch.minimum(right, other_right) - torch.maximum(left, other_left) + excess_px
    height = torch.minimum(bottom, other_bottom) - torch.maximum(top, other_top) + excess_px
    shared = width.clamp(min=0) * height.clamp(min=0)
    areas = (right - left + excess_px) * (bottom - top + excess_px)
    other_areas = (other_right - other_left + excess_px) * (other_bottom - other_top + excess_px)
    return shared / (areas + other_areas - shared)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    present: Tensor,
    threshold: float,
    rounds: int | None = None,
    excess_px: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Greedy non-maximum suppression within each image.

    Boxes of equal score keep their order, as with the stable sort of the original.

    Args:
        boxes: `[B,K,4]` float32 xyxy in pixels.
        scores: `[B,K]`.
        present: `[B,K]` bool, which rows are boxes; the others only fill up.
        threshold: Overlap above which the box of lower score is dropped.
        rounds: After how many rounds to stop, without waiting for the device. None waits, and goes
            on until all is settled.
        excess_px: See `overlaps`.

    Returns:
        The rows best first, `[B,K]` int64; which of these stay, `[B,K]` bool; and whether that is
        the last word, a bool on the device.
    """
    ranked = scores.masked_fill(~present, -torch.inf)
    order = torch.sort(ranked, dim=1, descending=True, stable=True).indices
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    beats = partial(_beats, threshold=threshold, excess_px=excess_px)
    keep, settled = greedy_keep(boxes, present.gather(1, order), beats, rounds)
    return order, keep, settled


def greedy_keep(
    boxes: Tensor, present: Tensor, beats: Beats, rounds: int | None = None
) -> tuple[Tensor, Tensor]:
    """Which of sorted boxes survive greedy suppression.

    Args:
        boxes: `[B,K,4]`, best first within each row of the batch.
        present: `[B,K]` bool, which of them are boxes.
        beats: Says which box would drop which.
        rounds: As for `suppress`.

    Returns:
        `[B,K]` bool, and whether that is the last word, a bool on the device.
    """
    keep = torch.zeros_like(present)
    settled = torch.ones((), dtype=torch.bool, device=boxes.device)
    # Block by block, because the overlaps of all pairs at once would fill the memory when a very
    # low threshold lets every anchor pass.
    for start in range(0, present.shape[1], _NMS_BLOCK):
        block = slice(start, start + _NMS_BLOCK)
        here, candidates = boxes[:, block], present[:, block]
        for first in range(0, start, _NMS_EARLIER):
            may_stop()
            earlier = slice(first, min(first + _NMS_EARLIER, start))
            beaten = beats(boxes[:, earlier], here) & keep[:, earlier, None]
            candidates = candidates & ~beaten.any(1)
        # Not `triu`: however small, it wakes torch's threads on the CPU, and for milliseconds these
        # compete with those of the network that runs next.
        rank = torch.arange(here.shape[1], device=boxes.device)
        of_worse = beats(here, here) & (rank[:, None] < rank)
        keep[:, block], unchanged = _settle(of_worse, candidates, rounds)
        settled = settled & unchanged
    return keep, settled


def _beats(better: Tensor, boxes: Tensor, threshold: float, excess_px: float) -> Tensor:
    """Which of `better [B,K,4]` would drop which of `boxes [B,L,4]`: `[B,K,L]` bool."""
    # Not "more than": boxes turned inside out have no area, and the original drops on NaN.
    return ~(overlaps(better, boxes, excess_px) <= threshold)


def _settle(beats: Tensor, candidates: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
    """Greedy suppression among `candidates [B,K]` of which `beats [B,K,K]` says who drops whom.

    It is the fixed point of "a box stays if no staying better box overlaps it"; iterating from "all
    stay" reaches it after as many rounds as the longest chain of overlaps.
    """
    before = keep = candidates
    # A chain can't be longer than the boxes are many.
    for _ in range(rounds or candidates.shape[1] + 1):
        before = keep
        keep = candidates & ~(beats & before[:, :, None]).any(1)
        if rounds is None and torch.equal(keep, before):
            break
    return keep, (keep == before).all()


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
        centre = uploaded(torch.tensor([image_hw[1] // 2, image_hw[0] // 2]), boxes.device)
        offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - centre
        value = value - offset.square().sum(1) * 2.0
    return torch.sort(value, descending=True, stable=True).indices[:limit]
