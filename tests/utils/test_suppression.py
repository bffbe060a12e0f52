"""Suppression within groups: held against torchvision's and facenet-pytorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.utils import suppression
from fastface.utils.suppression import overlap_of_smaller, overlap_of_union, suppress_groups

ops = pytest.importorskip("torchvision.ops")
detect_face = pytest.importorskip("facenet_pytorch.models.utils.detect_face")


def crowd(count: int, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes that overlap a lot, distinct scores, groups in no order."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    side = 10 + torch.rand(count, 2, generator=generator) * 40
    scores = torch.randperm(count, generator=generator).float() / max(count, 1)
    group = torch.randint(0, groups, (count,), generator=generator)
    return torch.cat((corner, corner + side), 1), scores, group


@pytest.fixture(params=["torchvision", "rounds"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On the CPU torchvision does it, elsewhere tensors do: both are tried here."""
    if request.param == "rounds":
        monkeypatch.setattr(suppression, "_torchvision_is_faster", lambda boxes, overlap: False)
    return request.param


@pytest.mark.parametrize("count, groups", [(0, 3), (1, 1), (40, 1), (300, 5), (900, 2), (600, 300)])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_union_is_torchvisions(way: str, count: int, groups: int, threshold: float):
    boxes, scores, group = crowd(count, groups)
    expected = []
    for number in range(groups):
        rows = (group == number).nonzero()[:, 0]
        expected += rows[ops.nms(boxes[rows], scores[rows], threshold)].tolist()
    assert suppress_groups(boxes, scores, group, groups, threshold).tolist() == expected


@pytest.mark.parametrize("count, groups", [(1, 1), (40, 1), (300, 5), (600, 300)])
def test_smaller_is_facenet_pytorchs_min(count: int, groups: int):
    boxes, scores, group = crowd(count, groups, seed=1)
    expected = []
    for number in range(groups):
        rows = (group == number).nonzero()[:, 0]
        if len(rows):
            picked = detect_face.nms_numpy(boxes[rows].numpy(), scores[rows].numpy(), 0.7, "Min")
            expected += rows[torch.from_numpy(picked.astype(np.int64))].tolist()
    got = suppress_groups(boxes, scores, group, groups, 0.7, overlap_of_smaller)
    assert got.tolist() == expected


def test_equal_scores_keep_the_earlier_row(way: str):
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [50, 50, 59, 59]])
    kept = suppress_groups(boxes, torch.ones(3), torch.zeros(3, dtype=torch.int64), 1, 0.5)
    assert kept.tolist() == [0, 2]


def test_a_box_inside_another_goes_only_by_the_smaller():
    boxes = torch.tensor([[0.0, 0, 40, 40], [10, 10, 20, 20]])
    assert overlap_of_smaller(boxes[:1], boxes[1:]).item() == 1
    assert overlap_of_union(boxes[:1], boxes[1:]).item() == pytest.approx(100 / 1600)


def test_boxes_without_area_do_not_drop_each_other(way: str):
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5]])
    kept = suppress_groups(
        boxes, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64), 1, 0.5
    )
    assert kept.tolist() == [0, 1]
