"""Detection sizes in all the forms that callers of InsightFace give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.det_sizes import AUTO_SIZES, parse_sizes
from fastface.utils.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, AUTO_SIZES),
        ((0, 0), AUTO_SIZES),
        ([(0, 0)], AUTO_SIZES),
        ((640, 640), ((640, 640),)),
        ([320, 256], ((320, 256),)),
        ((640.0, 480.0), ((640, 480),)),
        (np.array([640, 480]), ((640, 480),)),
        (torch.Size([640, 480]), ((640, 480),)),
        (torch.tensor([640, 480]), ((640, 480),)),
        (((128, 128), (640, 640)), AUTO_SIZES),
        ([[640, 640], [128, 128]], ((640, 640), (128, 128))),
        (np.array([[320, 320], [320, 320]]), ((320, 320),)),
        ([(0, 0), (640, 640), (320, 320)], (*AUTO_SIZES, (320, 320))),
    ],
)
def test_sizes(value: Any, expected: tuple[tuple[int, int], ...]):
    sizes = parse_sizes(value)
    assert sizes == expected
    assert all(type(side) is int for size in sizes for side in size)


@pytest.mark.parametrize(
    "value",
    [
        [],
        (),
        np.empty((0, 2)),
        640,
        "640",
        "large",
        (640,),
        (640, 640, 3),
        [(640, 640), (320,)],
        [[(640, 640)]],
        (0, 640),
        (-640, 640),
        (None, 640),
        (float("nan"), 640),
        (float("inf"), 640),
        (8193, 8192),
        (1, 1 << 20),
        (1 << 40, 1 << 40),
        (1e300, 1),
        (10**400, 640),
        [(640, 640), (-1, -1)],
        {"width": 640},
        pytest.param(object(), id="object"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_refused(value: Any):
    with pytest.raises(InvalidInput, match=r"got detection size .* expected \(width, height\)"):
        parse_sizes(value)


def test_a_tensor_with_a_gradient_is_refused():
    with pytest.raises(InvalidInput, match="expected"):
        parse_sizes(torch.tensor([640.0, 640.0], requires_grad=True))


def test_fractions_are_dropped_as_upstream_drops_them():
    assert parse_sizes((640.9, 480.2)) == ((640, 480),)
    assert parse_sizes((0.5, 0.5)) == AUTO_SIZES


@pytest.mark.parametrize("before", [((1, 1),), ((20, 15),), ((31, 1),)])
def test_halving_that_never_ends_ends(before: tuple[tuple[int, int], ...]):
    with pytest.raises(InvalidInput, match=r"got detection size \(0, 0\) after .* stop at 128"):
        parse_sizes((0, 0), before)
    assert parse_sizes(None, before) == AUTO_SIZES


@pytest.mark.parametrize("before", [(), ((640, 640),), AUTO_SIZES, ((32, 1),)])
def test_no_size_is_two_sizes_otherwise(before: tuple[tuple[int, int], ...]):
    assert parse_sizes((0, 0), before) == AUTO_SIZES
