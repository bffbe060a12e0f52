from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from fastface.utils import boxes as boxes_module
from fastface.utils.boxes import box_areas, largest_or_central, overlaps, suppress
from fastface.utils.progress import heard_by
from tests.utils.properties import steady
from tests.utils.upstream_scrfd import upstream_scrfd

pytest.importorskip("insightface")

#: Whole pixels in a small room, so that boxes coincide, touch and have no area.
room = st.integers(0, 12).map(float)
loose = st.floats(-20, 40, width=32)
coordinates = st.one_of(room, loose)
scores_of_faces = st.one_of(st.sampled_from([0.5, 0.7, 0.9]), st.floats(0, 1, width=32))


@st.composite
def a_box(draw: st.DrawFn) -> tuple[float, ...]:
    left, right = sorted((draw(coordinates), draw(coordinates)))
    top, bottom = sorted((draw(coordinates), draw(coordinates)))
    return left, top, right, bottom, draw(scores_of_faces)


#: Rows of (image, left, top, right, bottom, score) over four images, of which some stay empty.
found = st.lists(st.tuples(st.integers(0, 3), a_box()), max_size=40)


def columns(rows: list[tuple[int, tuple[float, ...]]]) -> tuple[Tensor, Tensor, Tensor]:
    table = torch.tensor([row for _, row in rows]).reshape(-1, 5)
    image_index = torch.tensor([image for image, _ in rows], dtype=torch.int64)
    return table[:, :4], table[:, 4], image_index


def our_nms(
    boxes: Tensor, scores: Tensor, image_index: Tensor, images: int, threshold: float
) -> list[int]:
    """`suppress` over the same rows, padded to as many for each image, in a random place."""
    rows_of = [(image_index == image).nonzero()[:, 0].tolist() for image in range(images)]
    widest = max(map(len, rows_of), default=0) + 2
    # What fills up is the best box of all, which would drop the others if it took part.
    padded = torch.tensor([-50.0, -50.0, 90.0, 90.0, 2.0]).repeat(images, widest, 1)
    source = torch.full((images, widest), -1)
    for image, rows in enumerate(rows_of):
        places = sorted(torch.randperm(widest)[: len(rows)].tolist())
        padded[image, places] = torch.cat((boxes[rows], scores[rows, None]), 1)
        source[image, places] = torch.tensor(rows, dtype=torch.int64)
    order, keep, settled = suppress(padded[..., :4], padded[..., 4], source >= 0, threshold)
    assert settled
    return source.gather(1, order)[keep].tolist()


def upstream_nms(
    boxes: Tensor, scores: Tensor, image_index: Tensor, images: int, threshold: float
) -> list[int]:
    """insightface's own suppression, an image at a time."""
    detector = upstream_scrfd([np.zeros((1, 1), np.float32)] * 9, threshold)
    kept: list[int] = []
    for image in range(images):
        rows = (image_index == image).nonzero()[:, 0]
        table = torch.cat((boxes[rows], scores[rows, None]), 1).numpy()
        kept += [int(rows[row]) for row in detector.nms(table)]
    return kept


@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.parametrize("rounds", [None, 2])
def test_no_boxes(images: int, rounds: int | None):
    nothing = torch.zeros(images, 0)
    order, keep, settled = suppress(torch.zeros(images, 0, 4), nothing, nothing.bool(), 0.4, rounds)
    assert order.shape == keep.shape == (images, 0) and order.dtype == torch.int64 and settled


@steady(300)
@given(found, st.sampled_from([0.0, 0.25, 0.4, 0.5, 1.0]))
def test_same_as_insightface_image_by_image(rows: list, threshold: float):
    boxes, scores, image_index = columns(rows)
    kept = our_nms(boxes, scores, image_index, 4, threshold)
    assert kept == upstream_nms(boxes, scores, image_index, 4, threshold)


@steady(30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_same_in_more_than_one_block(seed: int, block: int):
    random = np.random.default_rng(seed)
    low = random.random((60, 2), dtype=np.float32) * 40
    boxes = np.concatenate((low, low + random.random((60, 2), dtype=np.float32) * 30), 1)
    table = (
        torch.from_numpy(boxes),
        torch.from_numpy(random.integers(0, 9, 60).astype(np.float32)),
        torch.from_numpy(random.integers(0, 3, 60)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes_module, "_NMS_BLOCK", block)
        assert our_nms(*table, 3, 0.4) == upstream_nms(*table, 3, 0.4)


def test_very_many_boxes():
    random = np.random.default_rng(1)
    low = random.random((3000, 2), dtype=np.float32) * 600
    boxes = torch.from_numpy(np.concatenate((low, low + 20), 1))
    scores = torch.from_numpy(random.random(3000, dtype=np.float32))
    image_index = torch.zeros(3000, dtype=torch.int64)
    kept = our_nms(boxes, scores, image_index, 1, 0.4)
    assert kept == upstream_nms(boxes, scores, image_index, 1, 0.4)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@pytest.mark.parametrize(
    "rows, expected",
    [
        ([(10, 10, 20, 20, 0.9)], [0]),
        ([(10, 10, 20, 20, 0.8), (10, 10, 20, 20, 0.9)], [1]),
        ([(10, 10, 20, 20, 0.9), (10, 10, 20, 20, 0.9)], [0]),
        ([(5, 5, 5, 5, 0.9), (5, 5, 5, 5, 0.8)], [0]),
        ([(5, 5, 5, 5, 0.9), (6, 6, 6, 6, 0.8)], [0, 1]),
        # The second is dropped by the first, so it can't drop the third.
        ([(0, 0, 9, 9, 0.9), (4, 0, 13, 9, 0.8), (8, 0, 17, 9, 0.7)], [0, 2]),
        # Sides are counted one pixel longer: 5 of 10 + 10 - 5 columns are shared, a third.
        ([(0, 0, 9, 9, 0.9), (5, 0, 14, 9, 0.8)], [0, 1]),
        # Turned inside out by exactly the one pixel: no area, and insightface drops what has none.
        ([(5, 5, 4, 9, 0.9), (5, 5, 4, 9, 0.8)], [0]),
    ],
)
def test_cases(rows: list[tuple[float, ...]], expected: list[int]):
    boxes, scores, image_index = columns([(0, row) for row in rows])
    assert our_nms(boxes, scores, image_index, 1, 0.4) == expected
    assert upstream_nms(boxes, scores, image_index, 1, 0.4) == expected


def test_overlap_at_the_threshold_itself_stays():
    # 4 of 6 + 8 - 4 pixels are shared: 0.4 to the last bit of float32.
    boxes = torch.tensor([[0.0, 0.0, 5.0, 0.0], [2.0, 0.0, 9.0, 0.0]])
    assert overlaps(boxes, boxes)[0, 1] == torch.tensor(4 / 10)
    scores, image_index = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert our_nms(boxes, scores, image_index, 1, 0.4) == [0, 1]
    assert upstream_nms(boxes, scores, image_index, 1, 0.4) == [0, 1]


@steady(60)
@given(st.integers(2, 40), st.integers(1, 45))
def test_says_when_the_rounds_were_too_few(boxes: int, rounds: int):
    # Each box is dropped by the one before it alone, so that each round settles one more.
    left = torch.arange(boxes) * 4.0
    chain = torch.stack((left, left * 0, left + 9, left * 0 + 9), 1)[None]
    scores = torch.linspace(0.9, 0.1, boxes)[None]
    present = torch.ones(1, boxes, dtype=torch.bool)
    _, expected, _ = suppress(chain, scores, present, 0.4)
    assert expected[0].tolist() == [place % 2 == 0 for place in range(boxes)]
    _, keep, settled = suppress(chain, scores, present, 0.4, rounds)
    assert bool(settled) == (rounds >= boxes)
    assert not settled or torch.equal(keep, expected)


def test_box_areas():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 5.0], [1.0, 1.0, 1.0, 9.0]])
    assert box_areas(boxes).tolist() == [20.0, 0.0] and box_areas(boxes[:0]).shape == (0,)


# At most so many faces ----------------------------------------------------------------------------


def upstream_limit(
    boxes: Tensor, image_hw: tuple[int, int], limit: int, metric: str
) -> list[tuple[float, ...]]:
    """The boxes that insightface's `detect` gives back when it found these."""
    detector = upstream_scrfd([np.zeros((1, 1), np.float32)] * 9)
    scores = np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)
    table = np.concatenate((boxes.numpy(), scores[:, None]), 1)
    detector._detect_candidates = lambda *_: (table, np.zeros((len(table), 5, 2), np.float32))
    detector.nms = lambda _: list(range(len(table)))
    image = np.broadcast_to(np.zeros(3, np.uint8), (*image_hw, 3))
    kept, _ = detector.detect(image, (640, 640), max_num=limit, metric=metric)
    return [tuple(row) for row in kept[:, :4].tolist()]


def values(boxes: Tensor, image_hw: tuple[int, int], metric: str) -> list[float]:
    """What insightface weighs boxes by, in float64; only to leave out examples that tie."""
    table = boxes.double()
    centre = torch.tensor([image_hw[1] // 2, image_hw[0] // 2])
    off = (((table[:, :2] + table[:, 2:]) / 2 - centre) ** 2).sum(1) * 2
    return (box_areas(table) - (0 if metric == "max" else off)).tolist()


@pytest.mark.parametrize("metric", ["default", "max"])
@steady(150)
@given(
    st.lists(a_box(), min_size=2, max_size=20),
    st.integers(1, 6),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_same_selection_as_insightface(
    metric: str, rows: list, limit: int, image_hw: tuple[int, int]
):
    boxes = torch.tensor([row[:4] for row in rows])
    ranked = sorted(values(boxes, image_hw, metric))
    # insightface leaves the order of ties to chance.
    assume(all(high - low >= 1e-3 for low, high in pairwise(ranked)))
    limit = min(limit, len(rows) - 1)
    chosen = largest_or_central(boxes, image_hw, limit, metric)
    assert chosen.dtype == torch.int64
    got = [tuple(row) for row in boxes[chosen].tolist()]
    assert got == upstream_limit(boxes, image_hw, limit, metric)


@pytest.mark.parametrize(
    "boxes, limit, metric, expected",
    [
        ([], 1, "default", []),
        ([[0, 0, 9, 9]], 3, "default", [0]),
        ([[0, 0, 30, 30], [45, 45, 55, 55]], 1, "default", [1]),
        ([[0, 0, 30, 30], [45, 45, 55, 55]], 1, "max", [0]),
        ([[45, 45, 55, 55], [45, 45, 55, 55]], 1, "default", [0]),
        ([[0, 0, 2, 2], [0, 0, 4, 4], [0, 0, 3, 3]], 2, "max", [1, 2]),
    ],
)
def test_selection(boxes: list, limit: int, metric: str, expected: list[int]):
    table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    assert largest_or_central(table, (100, 100), limit, metric).tolist() == expected


def test_suppression_of_very_many_boxes_may_be_left_in_between():
    count = 9000
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(1, count, 2, generator=generator) * 2000
    boxes = torch.cat(
        (corners, corners + 20 + torch.rand(1, count, 2, generator=generator) * 60), 2
    )
    scores = torch.rand(1, count, generator=generator)
    asked: list[float] = []
    with heard_by(asked.append):
        order, keep, settled = suppress(boxes, scores, torch.ones(1, count, dtype=torch.bool), 0.4)
    # Some 9,000 x 9,000 overlaps, of which a million are worked out between two questions.
    assert len(asked) > 35 and bool(settled)
    torchvision = pytest.importorskip("torchvision.ops")
    # Its areas are those of sides that are not longer by a pixel.
    expected = torchvision.nms(boxes[0], scores[0], 0.4)
    _, ours, _ = suppress(boxes, scores, torch.ones(1, count, dtype=torch.bool), 0.4, excess_px=0.0)
    assert torch.equal(order[0][ours[0]], expected)
    assert bool(keep.any())
