"""Detection sizes in all the forms that callers of InsightFace give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.dropin.sizes import AUTO_SIZES, parse_sizes
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
        {"width": 640},
        object(),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_refused(value: Any):
    with pytest.raises(InvalidInput, match=r"got detection size .* expected \(width, height\)"):
        parse_sizes(value)
