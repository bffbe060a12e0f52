"""Images side by side or in one run, as is faster; the same answers in any case."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.openvino import OpenVinoBackend
from fastface.backends.placement import Placement, RunsOn
from fastface.backends.sessions import parallel_session
from fastface.backends.sessions.parallel_session import ParallelSession, side_by_side
from fastface.utils.packs import ModelFile
from fastface.utils.progress import heard_by, may_stop

LANES = 4


class Clock:
    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time passes by what sessions say that they take."""
    Clock.now = 0.0
    monkeypatch.setattr(parallel_session, "time", SimpleNamespace(perf_counter=lambda: Clock.now))
    yield


class Counting:
    """A session that says it takes a while."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "test")

    def __init__(
        self,
        seconds: float = 0.01,
        error: Exception | None = None,
        together: threading.Barrier | None = None,
    ) -> None:
        self.seconds = seconds
        self.error = error
        self.together = together
        self.sizes: list[int] = []
        self._lock = threading.Lock()

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        with self._lock:
            Clock.now += self.seconds
            self.sizes.append(len(x))
        if self.together is not None:
            self.together.wait(60)
        may_stop()
        if self.error is not None:
            raise self.error
        return x.sum((1, 2, 3)), x * 2


def session(together: Counting, lanes: Counting) -> ParallelSession:
    return ParallelSession(together, lambda: lanes, LANES, 0, "net.onnx")


def batches(parallel: ParallelSession, count: int, size: int = 8) -> None:
    for number in range(count):
        x = torch.full((size, 3, 2, 2), float(number)) + torch.arange(size)[:, None, None, None]
        total, doubled = parallel.run(x)
        assert torch.equal(total, x.sum((1, 2, 3))) and torch.equal(doubled, x * 2)


def test_what_was_faster_stays():
    together, lanes = Counting(0.03), Counting(0.02 / LANES)
    parallel = session(together, lanes)
    batches(parallel, 8)
    assert together.sizes == [8] * 4 and lanes.sizes == [2] * 4 * LANES
    batches(parallel, 3)
    assert together.sizes == [8] * 4 and len(lanes.sizes) == 7 * LANES


def test_lanes_run_at_once():
    parallel = session(Counting(), Counting(together=threading.Barrier(LANES)))
    batches(parallel, 8)


def test_one_run_stays_where_it_was_faster_and_the_other_is_let_go():
    together, lanes = Counting(0.02), Counting(0.03 / LANES)
    parallel = session(together, lanes)
    batches(parallel, 11)
    assert len(together.sizes) == 7 and len(lanes.sizes) == 4 * LANES
    assert parallel._side_by_side is None


def test_few_images_run_together_and_decide_nothing():
    together, lanes = Counting(), Counting()
    parallel = session(together, lanes)
    batches(parallel, 20, LANES - 1)
    assert len(together.sizes) == 20 and not lanes.sizes
    assert parallel._seconds is not None


def test_without_memory_for_it_the_other_is_not_opened(monkeypatch):
    monkeypatch.setattr(parallel_session, "free_ram", lambda: 0)
    together, lanes = Counting(), Counting()
    parallel = session(together, lanes)
    batches(parallel, 10)
    assert len(together.sizes) == 10 and not lanes.sizes


def test_an_error_of_a_lane_is_raised():
    parallel = session(Counting(), Counting(error=ValueError("lane")))
    batches(parallel, 1)
    with pytest.raises(ValueError, match="lane"):
        batches(parallel, 1)


def test_whoever_waits_ends_all_lanes():
    class Stop(BaseException):
        pass

    def stop(done: float) -> None:
        raise Stop

    together, lanes = Counting(0.03), Counting(0.01 / LANES)
    parallel = session(together, lanes)
    batches(parallel, 8)
    with pytest.raises(Stop), heard_by(stop):
        batches(parallel, 1)
    batches(parallel, 1)


def test_threads_time_one_at_a_time():
    together, lanes = Counting(0.02), Counting(0.01 / LANES)
    parallel = session(together, lanes)
    threads = [threading.Thread(target=batches, args=(parallel, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel._seconds is None
    assert sum(together.sizes) + sum(lanes.sizes) == 4 * 10 * 8


@pytest.mark.parametrize(
    ("threads", "cores", "lanes"),
    [("0", 1, 1), ("0", 2, 2), ("0", 16, 8), ("0", 0, 1), ("4", 16, 4), ("1", 16, 1)],
)
def test_lanes_by_cores_and_settings(threads, cores, lanes, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTFACE_THREADS", threads)
    monkeypatch.setattr(parallel_session, "usable_cores", lambda: cores)
    graph = tmp_path / "net.onnx"
    graph.write_bytes(b"")
    asked: list[int] = []

    def open_lanes(count: int) -> Any:
        asked.append(count)
        return Counting()

    opened = side_by_side(Counting(), open_lanes, graph)
    assert isinstance(opened, ParallelSession) == (lanes > 1)
    if isinstance(opened, ParallelSession):
        batches(opened, 2)
        assert asked == [lanes]


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
@pytest.mark.parametrize(
    ("name", "task", "shape"),
    [
        ("scrfd_2.5g_bnkps", "detection", (5, 3, 160, 192)),
        ("mobilefacenet", "recognition", (5, 3, 112, 112)),
    ],
)
def test_answers_are_the_same_to_the_bit(kind, name, task, shape, monkeypatch, test_data: Path):
    backend = kind()
    if backend.why_unavailable():
        pytest.skip(backend.why_unavailable())
    monkeypatch.setattr(parallel_session, "usable_cores", lambda: 2)
    model = ModelFile(test_data / "models" / f"{name}.onnx", task)
    opened = backend.open_session(model, Placement())
    front, *_ = getattr(opened, "halves", (opened,))
    assert isinstance(front, ParallelSession)
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    together, lanes = front.together.run(x), front._in_lanes(front._open_lanes(), x)
    assert all(torch.equal(*pair) for pair in zip(together, lanes, strict=True))
