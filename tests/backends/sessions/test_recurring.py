"""Shapes that keep coming are recorded as CUDA graphs; what can't be recorded runs without."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fastface.backends.placement import RunsOn
from fastface.backends.sessions.shape_cache import Run, ShapeCache, captured
from fastface.backends.sessions.torch_session import TorchSession
from fastface.utils.errors import BackendUnavailable


class Stream:
    def __init__(self, device: object = None) -> None: ...

    def wait_stream(self, other: object) -> None: ...


class Recording:
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.replay: Callable[[], Any] = lambda: None


class Driver:
    """Records on the CPU.

    Attributes:
        recording: What is being recorded now.
        modes: In which modes it recorded.
        calls: How often the network was called.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = None
        self.modes: list[str] = []
        self.calls = 0

    @contextlib.contextmanager
    def graph(self, recording: Recording, stream: Stream, capture_error_mode: str) -> Iterator:
        self.modes.append(capture_error_mode)
        self.recording = recording
        try:
            yield
        finally:
            self.recording = None

    def double(self, x: Tensor) -> tuple[Tensor, ...]:
        """A network that writes into the memory it was recorded with, as kernels do."""
        self.calls += 1
        result = 2 * x
        if self.recording:
            self.recording.replay = lambda: torch.mul(x, 2, out=result)
        return (result,)

    def failing(self, error: Exception) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """A network that fails while it is recorded."""

        def way(x: Tensor) -> tuple[Tensor, ...]:
            if self.recording:
                raise error
            return (2 * x,)

        return way


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", driver.graph)
    return driver


def test_a_recorded_run_is_run_again_on_new_input_into_new_memory(driver: Driver) -> None:
    run = captured(driver.double, torch.ones(3))
    assert run is not None
    calls = driver.calls
    (first,), (second,) = run(torch.full((3,), 5.0)), run(torch.full((3,), 7.0))
    assert first.tolist() == [10.0] * 3 and second.tolist() == [14.0] * 3
    assert driver.calls == calls
    # Whatever other threads do on the device meanwhile is no error, here or there.
    assert driver.modes == ["thread_local"]


def test_what_can_not_be_recorded_runs_without_and_that_is_said_once(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    recurring, x = ShapeCache(), torch.ones(2, 3)
    way = driver.failing(RuntimeError("operation not permitted when stream is capturing"))
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        results = [recurring.runner_for((2, 3), way, lambda: captured(way, x))(x) for _ in range(6)]
    assert all(torch.equal(result, 2 * x) for (result,) in results)
    assert len(driver.modes) == 1
    (record,) = caplog.records
    assert "without a CUDA graph for (2, 3): operation not permitted" in record.getMessage()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), BackendUnavailable("the engine failed")]
)
def test_failures_of_the_run_itself_are_raised(driver: Driver, error: Exception) -> None:
    with pytest.raises(type(error)):
        captured(driver.failing(error), torch.ones(3))


class Joining(torch.nn.Module):
    """A network of several inputs."""

    def forward(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        return (torch.cat((x, *more), 1),)


def test_what_is_prepared_is_for_the_shapes_of_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    session = TorchSession(
        Joining(), torch.device("cpu"), torch.float32, RunsOn("cpu", "torch"), compiles=True
    )
    prepared: list[tuple[int, ...]] = []

    def compiled(x: Tensor, plain: Run) -> Run:
        prepared.append(tuple(plain(x)[0].shape))
        return plain

    monkeypatch.setattr(session, "_compiled", compiled)
    x = torch.ones(2, 3)
    for _ in range(5):
        for width in (1, 4):
            more = torch.full((2, width), 7.0, dtype=torch.float64)
            (got,) = session.run(x, more)
            assert torch.equal(got, torch.cat((x, more.float()), 1))
    assert prepared == [(2, 4), (2, 7)]
