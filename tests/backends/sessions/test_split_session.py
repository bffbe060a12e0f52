"""A detector in two halves gives what the whole one gives, from less of its input."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.base import GraphBackend
from fastface.backends.interfaces import Session
from fastface.backends.onnx_graphs.batched import BatchedGraph, batched_graph
from fastface.backends.onnx_graphs.split_point import ReceptiveField, SplitPoint
from fastface.backends.placement import Placement, RunsOn
from fastface.backends.registry import get_backend
from fastface.backends.residency.evictable_model import Movable
from fastface.backends.residency.model_registry import ModelName
from fastface.backends.sessions.evictable_session import EvictableSession
from fastface.backends.sessions.opening import open_batched
from fastface.backends.sessions.split_session import MovableSplitSession, SplitSession
from fastface.utils.errors import BackendUnavailable, ModelError
from fastface.utils.letterbox import Canvas
from fastface.utils.packs import ModelFile
from fastface.utils.packs.read import read_pack
from tests.backends.small_pack import on_canvas

BACKENDS = ["torch", "onnxruntime", "openvino"]
#: Of 352 x 320: a frame, a portrait, small, hardly smaller than the canvas, all of it.
FILLED = [(180, 320), (352, 100), (40, 60), (345, 320), (352, 320)]
SIZE_HW = (352, 320)
BLACK = -127.5 / 128


def canvases(
    filled_hw: tuple[int, int], count: int = 2, size_hw: tuple[int, int] = SIZE_HW
) -> Tensor:
    random = torch.Generator().manual_seed(filled_hw[0])
    images = torch.full((count, 3, *size_hw), BLACK)
    height, width = filled_hw
    images[..., :height, :width] = torch.rand(count, 3, height, width, generator=random) * 2 - 1
    return images


@pytest.mark.parametrize("name", BACKENDS)
def test_halves_give_what_the_whole_gives(name: str, test_data: Path, monkeypatch):
    backend = get_backend(name)
    if reason := backend.why_unavailable():
        pytest.skip(reason)
    assert isinstance(backend, GraphBackend)
    model = read_pack("models", test_data / "models").model("detection")
    divided = backend.open_session(model, Placement("cpu", "fp32"))
    assert isinstance(divided, SplitSession)
    monkeypatch.setattr("fastface.backends.sessions.opening.split_graph_of", lambda *_: None)
    whole = backend.open_session(model, Placement("cpu", "fp32"))
    assert not isinstance(whole, SplitSession)
    assert divided.runs_on == whole.runs_on and divided.device == whole.device
    for filled_hw in FILLED:
        images, parts = canvases(filled_hw), []
        wanted = whole.run(images)
        for got in (
            on_canvas(divided, Canvas(filled_hw, filled_hw, SIZE_HW), images, parts),
            divided.run(images),
        ):
            for one, other in zip(got, wanted, strict=True):
                assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5, rtol=0)
        spared = 1 - np.prod(parts[0]) / np.prod(SIZE_HW)
        assert (parts == [SIZE_HW]) == (filled_hw in FILLED[-2:]) and (spared > 0.2) == (spared > 0)


class Front:
    """Doubles; its features see the pixel itself alone."""

    device = torch.device("cpu")

    def __init__(self, share: float | None = 1.0, note: str = "") -> None:
        self.runs_on = RunsOn("cpu", "fake", share, note)
        self.seen: list[tuple[int, ...]] = []

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        self.seen.append(tuple(x.shape))
        return (2 * x,)


class MovableFront(Front):
    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def leave_device(self) -> None:
        self.moves.append("left")

    def return_to_device(self) -> None:
        self.moves.append("returned")


SPLIT_POINT = SplitPoint("x", ReceptiveField(), ReceptiveField())


def test_an_empty_canvas_is_run_once_for_each_size():
    front, back = Front(), Front()
    session = SplitSession(front, back, SPLIT_POINT, BLACK, Front)
    for filled_hw, size_hw in [((32, 64), (64, 64))] * 3 + [((32, 64), (96, 64))]:
        images = canvases(filled_hw, 3, size_hw)
        (got,) = on_canvas(session, Canvas(filled_hw, filled_hw, size_hw), images)
        assert torch.equal(got, 4 * images)
    assert [shape for shape in front.seen if shape[0] == 1] == [(1, 3, 64, 64), (1, 3, 96, 64)]
    assert [shape for shape in front.seen if shape[0] == 3] == [(3, 3, 32, 64)] * 4


def test_a_full_canvas_needs_no_empty_one():
    front = Front()
    session = SplitSession(front, Front(), SPLIT_POINT, BLACK, Front)
    on_canvas(session, Canvas((64, 64), (64, 64), (64, 64)), canvases((64, 64), 1, (64, 64)))
    assert front.seen == [(1, 3, 64, 64)]


def test_full_canvases_run_on_the_whole_where_that_is_faster():
    front, whole = Front(), Front()
    session = SplitSession(front, Front(), SPLIT_POINT, BLACK, lambda: whole, full_on_whole=True)
    images = canvases((64, 64), 2, (64, 64))
    full = Canvas((64, 64), (64, 64), (64, 64))
    (got,) = on_canvas(session, full, images)
    assert torch.equal(got, 2 * images) and whole.seen == [(2, 3, 64, 64)] and not front.seen
    on_canvas(session, Canvas((32, 64), (32, 64), (64, 64)), images)
    assert len(whole.seen) == 1 and len(front.seen) == 2


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_features_keep_their_type_and_order(order: torch.memory_format, dtype: torch.dtype):
    back = Front()
    session = SplitSession(Front(), back, SPLIT_POINT, BLACK, Front)
    images = canvases((32, 64), 2, (64, 64)).to(dtype)

    session._front.run = lambda x: (x.contiguous(memory_format=order) * 2,)
    given: list[Tensor] = []
    back.run = lambda x: (given.append(x), (x,))[1]
    canvas = Canvas((32, 64), (32, 64), (64, 64))
    height, width = session.input_hw(canvas)
    part = images[..., :height, :width].contiguous(memory_format=order)
    (got,) = session.run(part, canvas)
    assert got.dtype == dtype and torch.equal(got, 2 * images)
    assert given[0].is_contiguous(memory_format=order)


def test_features_follow_the_front_into_another_order():
    back = Front()
    session = SplitSession(Front(), back, SPLIT_POINT, BLACK, Front)
    images = canvases((32, 64), 2, (64, 64))
    given: list[Tensor] = []
    back.run = lambda x: (given.append(x), (x,))[1]
    orders = (torch.contiguous_format, torch.channels_last, torch.contiguous_format)
    for order in orders:
        session._front.run = lambda x, order=order: (x.contiguous(memory_format=order) * 2,)
        (got,) = on_canvas(session, Canvas((32, 64), (32, 64), (64, 64)), images)
        assert torch.equal(got, 2 * images)
    for features, order in zip(given, orders, strict=True):
        assert features.is_contiguous(memory_format=order)


def test_the_engines_object_is_that_of_the_whole_graph():
    opened: list[Front] = []

    def open_whole() -> Front:
        opened.append(Front())
        return opened[-1]

    session = SplitSession(Front(), Front(), SPLIT_POINT, BLACK, open_whole)
    session.run(canvases((64, 64), 1, (64, 64)))
    assert not opened
    assert session.raw is session.raw is session.whole is opened[0] and len(opened) == 1


def test_what_it_runs_on_is_what_its_worse_half_runs_on():
    def on(front: Session, back: Session) -> RunsOn:
        return SplitSession(front, back, SPLIT_POINT, BLACK, Front).runs_on

    assert on(Front(1.0), Front(0.5, "slow")) == RunsOn("cpu", "fake", 0.5, "slow")
    assert on(Front(0.25, "same"), Front(None, "same")) == RunsOn("cpu", "fake", 0.25, "same")
    assert on(Front(1.0, "a"), Front(1.0, "b")).note == "a; b"
    fallen_back = Front()
    fallen_back.runs_on = RunsOn("cpu", "CPU", 1.0, "no room")
    assert on(Front(), fallen_back) == on(fallen_back, Front()) == fallen_back.runs_on


@pytest.mark.parametrize("full_on_whole", [False, True])
def test_a_part_that_is_elsewhere_gets_its_input_there(full_on_whole: bool):
    class Elsewhere(Front):
        device = torch.device("meta")

        def run(self, x: Tensor) -> tuple[Tensor, ...]:
            assert x.device == self.device
            return super().run(x)

    session = SplitSession(Front(), Elsewhere(), SPLIT_POINT, BLACK, Elsewhere, full_on_whole)
    images = canvases((64, 64), 1, (64, 64))
    session.run(images)
    for filled_hw in ((32, 64), (64, 64)):
        on_canvas(session, Canvas(filled_hw, filled_hw, (64, 64)), images)


@pytest.mark.parametrize("error", [ModelError("unreadable"), BackendUnavailable("no onnx")])
def test_a_graph_that_can_not_be_read_here_is_the_engines_to_judge(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("fastface.backends.sessions.opening.split_graph_of", refuse)
    model = ModelFile(tmp_path / "detector.onnx", "detection", family="SCRFD")
    model.path.write_bytes(b"for others to read")
    opened: list[Path] = []

    def open_graph(path: Path, note: str) -> Front:
        opened.append(path)
        return Front()

    session = open_batched(model, lambda: BatchedGraph(model.path, True), open_graph)
    assert isinstance(session, Front) and opened == [model.path]


def test_halves_that_can_wait_in_memory_move_together():
    front, back = MovableFront(), MovableFront()
    session = MovableSplitSession(front, back, SPLIT_POINT, BLACK, Front)
    assert isinstance(session, Movable)
    assert not isinstance(SplitSession(Front(), Front(), SPLIT_POINT, BLACK, Front), Movable)
    canvas = Canvas((32, 64), (32, 64), (64, 64))
    on_canvas(session, canvas, canvases((32, 64), 1, (64, 64)))
    session.leave_device()
    session.return_to_device()
    assert front.moves == back.moves == ["left", "returned"]
    on_canvas(session, canvas, canvases((32, 64), 1, (64, 64)))
    # What was kept of empty canvases left the device too.
    assert front.seen.count((1, 3, 64, 64)) == 2


def test_the_torch_backend_moves_its_halves(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    backend = get_backend("torch")
    assert isinstance(backend, GraphBackend)
    assert isinstance(backend.open_session(model, Placement("cpu", "fp32")), Movable)


def test_what_compiles_for_a_size_is_given_whole_canvases(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    opened: list[Path] = []

    def open_graph(path: Path, note: str) -> Front:
        opened.append(path)
        return Front()

    prepared = batched_graph(model)
    session = open_batched(model, lambda: prepared, open_graph, any_size=False)
    assert isinstance(session, Front) and opened == [prepared.path]
    assert isinstance(open_batched(model, lambda: prepared, open_graph), SplitSession)
    assert len(opened) == 3


def test_many_threads_share_it():
    session = SplitSession(Front(), Front(), SPLIT_POINT, BLACK, Front)
    wrong: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for turn in range(20):
            filled_hw = (8 + number, 16 + turn)
            images = canvases(filled_hw, 1, (64, 64 + 32 * (turn % 9)))
            canvas = Canvas(filled_hw, filled_hw, tuple(images.shape[2:]))
            (got,) = on_canvas(session, canvas, images)
            if not torch.equal(got, 4 * images):
                wrong.append(filled_hw)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_session_it_falls_back_to_gets_whole_canvases():
    class Broken(Front):
        def run(self, x: Tensor) -> tuple[Tensor, ...]:
            raise BackendUnavailable("the device is gone")

    slow = Front()

    def open_at(placement: Placement) -> Session:
        if placement.device == "cpu":
            return slow
        return SplitSession(Broken(), Front(), SPLIT_POINT, BLACK, Front)

    name = ModelName("pack", "detection", "fake", "model.onnx")
    session = EvictableSession(name, open_at, Placement("fast"), 1, Placement("cpu"), BLACK)
    images, parts = canvases((32, 64), 1, (64, 64)), []
    (got,) = on_canvas(session, Canvas((32, 64), (32, 64), (64, 64)), images, parts)
    assert parts == [(32, 64)] and torch.equal(got, 2 * images)
    assert slow.seen == [(1, 3, 64, 64)]
