from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.detectors.scrfd import anchor_layout, decode_scrfd
from fastface.utils.errors import ModelError
from tests.utils.properties import steady
from tests.utils.upstream_scrfd import made_up_outputs, upstream_scrfd

pytest.importorskip("insightface")

LAYOUTS = [6, 9, 10, 15]
#: Height and width of canvases, all whole strides of the coarsest map.
CANVASES = [(128, 128), (128, 256), (256, 128)]


def as_batch(outputs: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(output) for output in outputs]


@pytest.mark.parametrize("count", LAYOUTS)
def test_nothing_passes(count: int):
    outputs = as_batch(made_up_outputs(np.random.default_rng(0), count, (128, 128), 2))
    found = decode_scrfd(outputs, (128, 128), 1.01)
    assert found.boxes.shape == (2, 0, 4) and found.scores.shape == found.present.shape == (2, 0)
    has_landmarks = anchor_layout(count).landmarks
    assert found.landmarks.shape == (2, 0, 5, 2) if has_landmarks else found.landmarks is None
    assert found.passed.tolist() == [0, 0]


@pytest.mark.parametrize("count", LAYOUTS)
@steady(12)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(CANVASES),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.5, 0.7, 0.9, 1.0]),
    st.booleans(),
)
def test_same_as_insightface_image_by_image(
    count: int, seed: int, canvas_hw: tuple[int, int], images: int, threshold: float, guess: bool
):
    outputs = made_up_outputs(np.random.default_rng(seed), count, canvas_hw, images)
    most = 10_000 if guess else None
    found = decode_scrfd(as_batch(outputs), canvas_hw, threshold, most)
    for image in range(images):
        detector = upstream_scrfd([output[image] for output in outputs])
        canvas = np.zeros((*canvas_hw, 3), np.uint8)
        scores, boxes, landmarks = (
            np.concatenate(part) if part else None for part in detector.forward(canvas, threshold)
        )
        rows = image, found.present[image]
        assert scores is not None and found.passed[image] == len(scores)
        assert (found.scores[rows].numpy() == scores[:, 0]).all()
        assert (found.boxes[rows].numpy() == boxes).all()
        if found.landmarks is None:
            assert landmarks is None
        else:
            assert (found.landmarks[rows].numpy() == landmarks).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_outputs_of_other_dtypes(dtype: torch.dtype):
    outputs = as_batch(made_up_outputs(np.random.default_rng(0), 9, (128, 128), 2))
    rounded = [output.to(dtype) for output in outputs]
    found = decode_scrfd(rounded, (128, 128), 0.75)
    same = decode_scrfd([output.float() for output in rounded], (128, 128), 0.75)
    for got, expected in (
        (found.boxes, same.boxes),
        (found.scores, same.scores),
        (found.landmarks, same.landmarks),
    ):
        assert got is not None and got.dtype == torch.float32 and torch.equal(got, expected)
    assert found.present.any()


def test_too_few_rows_hold_the_best_and_say_how_many_there_were():
    outputs = as_batch(made_up_outputs(np.random.default_rng(0), 9, (128, 128), 2))
    for scores in outputs[:3]:
        scores.copy_(torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)))
    every = decode_scrfd(outputs, (128, 128), 0.5)
    few = decode_scrfd(outputs, (128, 128), 0.5, 7)
    assert torch.equal(few.passed, every.passed) and few.passed.min() > 7
    best = every.scores.masked_fill(~every.present, 0).topk(7).values
    assert few.present.all() and torch.equal(few.scores.sort(1, descending=True).values, best)


def test_nan_scores_never_pass():
    outputs = as_batch(made_up_outputs(np.random.default_rng(0), 9, (128, 128), 1))
    outputs[0].fill_(float("nan"))
    stride_8 = outputs[0].shape[1]
    rest = (torch.cat(outputs[1:3], 1) >= 0.5).sum()
    found = decode_scrfd(outputs, (128, 128), 0.5)
    assert stride_8 and found.present.sum() == rest == found.passed[0]
    assert not found.scores[found.present].isnan().any()


def test_unscaled_divides_like_insightface():
    outputs = made_up_outputs(np.random.default_rng(0), 9, (128, 128), 1)
    found = decode_scrfd(as_batch(outputs), (128, 128), 0.5).unscaled(17 / 45)
    detector = upstream_scrfd([output[0] for output in outputs])
    _, boxes, landmarks = detector.forward(np.zeros((128, 128, 3), np.uint8), 0.5)
    assert (found.boxes[0].numpy() == np.vstack(boxes) / (17 / 45)).all()
    assert found.landmarks is not None
    assert (found.landmarks[0].numpy() == np.vstack(landmarks) / (17 / 45)).all()
    boxes_only = decode_scrfd(as_batch(outputs[:6]), (128, 128), 0.5).unscaled(2.0)
    assert boxes_only.landmarks is None


@pytest.mark.parametrize("count", [0, 1, 3, 5, 7, 8, 12, 16])
def test_refuses_other_numbers_of_outputs(count: int):
    with pytest.raises(ModelError, match=rf"got a detector with {count} outputs, expected one of"):
        decode_scrfd([torch.zeros(1, 1, 1)] * count, (128, 128), 0.5)


def test_refuses_outputs_of_another_canvas():
    outputs = as_batch(made_up_outputs(np.random.default_rng(0), 9, (128, 128), 1))
    with pytest.raises(ModelError, match="gave 512 anchors for a 256 x 128 input, expected 1024"):
        decode_scrfd(outputs, (128, 256), 0.5)
