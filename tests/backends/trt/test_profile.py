"""Profiles: which batches and sizes an engine takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.backends.trt.profile import Profile, Span, covers, shape_range
from fastface.utils.errors import InvalidInput
from fastface.utils.packs import ModelFile

OPEN = ModelFile(Path("scrfd.onnx"), "detection", (1, 3, None, None))
FIXED = ModelFile(Path("arcface.onnx"), "recognition", (None, 3, 112, 112))


def test_open_axes_take_the_profile_and_fixed_ones_stay():
    profile = Profile(Span(1, 4, 16), Span(128, 640, 1024))
    assert profile.shapes(OPEN, True) == ((1, 3, 128, 128), (4, 3, 640, 640), (16, 3, 1024, 1024))
    assert profile.shapes(FIXED, True) == ((1, 3, 112, 112), (4, 3, 112, 112), (16, 3, 112, 112))
    assert profile.shapes(FIXED, False) == ((1, 3, 112, 112),) * 3


@pytest.mark.parametrize(
    ("batch", "side", "said"),
    [
        ((0, 1, 2), (64, 64, 64), "got a batch from 0 to 2"),
        ((1, 8, 4), (64, 64, 64), "got a batch from 1 to 4, best 8"),
        ((1, 1, 1), (640, 128, 1024), "got a size from 640 to 1024, best 128"),
        ((1, 1, 1), (64, 100, 128), "expected multiples of 32"),
    ],
)
def test_what_makes_no_sense_is_refused(batch, side, said: str):
    with pytest.raises(InvalidInput, match=said):
        Profile(Span(*batch), Span(*side))


@pytest.mark.parametrize(
    ("shape", "covered"),
    [
        ((1, 3, 128, 128), True),
        ((4, 3, 640, 480), True),
        ((4, 3, 640, 96), False),
        ((17, 3, 640, 640), False),
        ((0, 3, 640, 640), False),
        ((3, 640, 640), False),
    ],
)
def test_covers(shape: tuple[int, ...], covered: bool):
    shapes = Profile(Span(1, 4, 16), Span(128, 640, 1024)).shapes(OPEN, True)
    assert covers(shapes, shape) is covered


def test_told():
    assert shape_range(Profile().shapes(OPEN, True)) == (
        "1x3x128x128 to 32x3x1024x1024, best 8x3x640x640"
    )
