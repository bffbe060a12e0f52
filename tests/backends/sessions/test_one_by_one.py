"""Batches for a network that takes one image at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastface.backends.interfaces import Session
from fastface.backends.placement import RunsOn
from fastface.backends.sessions.unbatched_adapter import UnbatchedAdapter
from fastface.utils.errors import InvalidInput
from fastface.utils.packs import ModelFile


class Single:
    """A session that gives fixed outputs, plus the mean of its one image."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")
    raw = "the engine's own object"

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self._shapes = shapes

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert len(x) == 1
        return tuple(torch.full(shape, float(x.mean())) for shape in self._shapes)


def batch_of(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)


def one_by_one(task: str, *shapes: tuple[int, ...]) -> UnbatchedAdapter:
    return UnbatchedAdapter(Single(*shapes), ModelFile(Path("x.onnx"), task))


def test_an_empty_batch_is_refused():
    with pytest.raises(InvalidInput, match=r"got an empty batch \(0, 3, 4, 4\)"):
        one_by_one("recognition", (1, 8)).run(batch_of(0))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("task", "single", "joined"),
    [
        ("detection", (12, 4), (12, 4)),
        ("detection", (1, 4), (1, 4)),  # one anchor is no batch axis
        ("detection", (0, 4), (0, 4)),
        ("detection", (1, 12, 4), (12, 4)),
        ("recognition", (1, 8), (8,)),
        ("genderage", (1, 1, 3), (1, 3)),
        ("recognition", (8,), (8,)),
    ],
)
def test_results_lead_with_the_batch(count, task, single, joined):
    (result,) = one_by_one(task, single).run(batch_of(count))
    assert result.shape == (count, *joined)
    expected = torch.arange(count).reshape(-1, *[1] * len(joined)).expand(result.shape)
    assert torch.equal(result, expected.float())


def test_every_output_is_joined_in_order():
    shapes = [result.shape for result in one_by_one("detection", (8, 1), (2, 4)).run(batch_of(2))]
    assert shapes == [(2, 8, 1), (2, 2, 4)]


def test_it_stands_for_the_session_it_wraps():
    session = one_by_one("recognition", (1, 8))
    assert isinstance(session, Session)
    assert (session.device, session.runs_on) == (Single.device, Single.runs_on)
    assert session.raw == Single.raw
