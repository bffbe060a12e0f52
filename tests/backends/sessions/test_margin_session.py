"""A detector that skips black margins gives what the whole one gives, from less of its input."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.base import GraphBackend
from fastface.backends.interfaces import Session
from fastface.backends.onnx_graphs.batched import BatchedGraph, batched_graph
from fastface.backends.onnx_graphs.margin_points import MarginPoint
from fastface.backends.onnx_graphs.receptive_field import ReceptiveField
from fastface.backends.placement import Placement, RunsOn
from fastface.backends.registry import get_backend
from fastface.backends.residency.evictable_model import Movable
from fastface.backends.residency.model_registry import ModelName
from fastface.backends.sessions.evictable_session import EvictableSession
from fastface.backends.sessions.margin_session import MarginSession, MovableMarginSession
from fastface.backends.sessions.open_batched import open_batched
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
def test_what_skips_margins_gives_what_the_whole_gives(name: str, test_data: Path, monkeypatch):
    backend = get_backend(name)
    if reason := backend.why_unavailable():
        pytest.skip(reason)
    assert isinstance(backend, GraphBackend)
    model = read_pack("models", test_data / "models").model("detection")
    session = backend.open_session(model, Placement("cpu", "fp32"))
    assert isinstance(session, MarginSession)
    with monkeypatch.context() as patched:
        patched.setattr("fastface.backends.sessions.open_batched.margin_graphs_of", lambda *_: None)
        whole = backend.open_session(model, Placement("cpu", "fp32"))
    assert not isinstance(whole, MarginSession)
    assert session.runs_on == whole.runs_on and session.device == whole.device
    for filled_hw in FILLED:
        images, parts = canvases(filled_hw), []
        wanted = whole.run(images)
        for got in (
            on_canvas(session, Canvas(filled_hw, filled_hw, SIZE_HW), images, parts),
            session.run(images),
        ):
            for one, other in zip(got, wanted, strict=True):
                assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5, rtol=0)
        spared = 1 - np.prod(parts[0]) / np.prod(SIZE_HW)
        assert (parts == [SIZE_HW]) == (filled_hw in FILLED[-2:]) and (spared > 0.2) == (spared > 0)


class Doubling:
    """A network whose features see the pixel itself alone, with one point at its end."""

    device = torch.device("cpu")

    def __init__(self, axis: int = 2, share: float | None = 1.0, note: str = "") -> None:
        self.runs_on = RunsOn("cpu", "fake", share, note)
        self.axis = axis
        self.seen: list[tuple[int, ...]] = []

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        self.seen.append(tuple(x.shape))
        return (torch.cat((2 * x, *more), self.axis),)


class MovableDoubling(Doubling):
    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def leave_device(self) -> None:
        self.moves.append("left")

    def return_to_device(self) -> None:
        self.moves.append("returned")


POINTS = (MarginPoint("x", ReceptiveField(), ReceptiveField()),)


class World:
    """A session of such networks, and what was opened for it, by name."""

    def __init__(
        self,
        below: Session | None = None,
        kind: type[MarginSession] = MarginSession,
        refuses: str = "",
    ) -> None:
        self.opened: list[str] = []
        self.below: Any = below or Doubling()
        self.right, self.empty, self.whole = Doubling(3), Doubling(), Doubling()

        def opens(name: str, *_: int) -> Any:
            self.opened.append(name)
            if name == refuses:
                raise ModelError("refused")
            return getattr(self, name)

        self.session = kind(
            self.below,
            POINTS,
            BLACK,
            partial(opens, "right"),
            partial(opens, "empty"),
            partial(opens, "whole"),
        )

    def run(
        self, filled_hw: tuple[int, int], size_hw: tuple[int, int] = (64, 64), count: int = 1
    ) -> None:
        images = canvases(filled_hw, count, size_hw)
        (got,) = on_canvas(self.session, Canvas(filled_hw, filled_hw, size_hw), images)
        assert torch.equal(got, 2 * images)


def test_an_empty_canvas_is_run_once_for_each_size():
    world = World()
    for size_hw in [(64, 64)] * 3 + [(96, 64)]:
        for count in (3, 1):
            world.run((32, 64), size_hw, count)
    assert world.empty.seen == [(1, 3, 64, 64), (1, 3, 96, 64)]
    assert world.below.seen == [(3, 3, 32, 64), (1, 3, 32, 64)] * 4
    assert world.opened == ["empty"]


def test_each_side_has_a_graph_that_is_opened_when_it_is_wanted():
    world = World()
    for _ in range(2):
        world.run((64, 32))
    assert world.right.seen == [(1, 3, 64, 32)] * 2 and not world.below.seen
    assert world.opened == ["right", "empty"]


def test_full_canvases_and_plain_inputs_run_on_the_whole():
    world = World()
    world.run((64, 64))
    images = canvases((64, 64), 2, (64, 64))
    assert torch.equal(world.session.run(images)[0], 2 * images)
    assert world.whole.seen == [(1, 3, 64, 64), (2, 3, 64, 64)]
    assert world.opened == ["whole"] and not world.below.seen


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_features_keep_their_type_and_order(order: torch.memory_format, dtype: torch.dtype):
    world = World()
    world.empty.run = lambda x: ((2 * x).contiguous(memory_format=order),)
    given: list[Tensor] = []
    world.below.run = lambda x, *more: (given.extend(more), (torch.cat((2 * x, *more), 2),))[1]
    images = canvases((32, 64), 2, (64, 64)).to(dtype)
    (got,) = on_canvas(world.session, Canvas((32, 64), (32, 64), (64, 64)), images)
    assert torch.equal(got, 2 * images)
    assert given[0].dtype == dtype and given[0].is_contiguous(memory_format=order)


def test_the_engines_object_is_that_of_the_whole_graph():
    world = World()
    assert not world.opened
    assert world.session.raw is world.session.raw is world.session.whole is world.whole
    assert world.opened == ["whole"]


def test_what_it_runs_on_is_what_margins_below_run_on():
    assert World(Doubling(2, 0.5, "slow")).session.runs_on == RunsOn("cpu", "fake", 0.5, "slow")


@pytest.mark.parametrize("away", ["right", "empty", "whole"])
def test_a_graph_that_is_elsewhere_gets_its_inputs_there(away: str):
    class Elsewhere(Doubling):
        device = torch.device("meta")

        def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
            assert {each.device for each in (x, *more)} == {self.device}
            results = super().run(x, *more)
            return tuple(torch.zeros(result.shape) for result in results)

    world = World()
    setattr(world, away, Elsewhere(getattr(world, away).axis))
    for filled_hw in ((32, 64), (64, 32), (64, 64)):
        images = canvases(filled_hw, 1, (64, 64))
        on_canvas(world.session, Canvas(filled_hw, filled_hw, (64, 64)), images)
    assert len(getattr(world, away).seen) == 1


@pytest.mark.parametrize("broken", ["right", "empty"])
def test_margins_are_run_too_where_what_skips_them_does_not_open(broken: str, caplog):
    world = World(refuses=broken)
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        world.run((64, 32))
        world.run((64, 32), count=2)
    assert world.whole.seen == [(1, 3, 64, 64), (2, 3, 64, 64)]
    assert caplog.text.count("refused") == 1 and world.opened.count(broken) == 1
    assert world.session.input_hw(Canvas((64, 32), (64, 32), (64, 64))) == (64, 64)


@pytest.mark.parametrize("error", [ModelError("unreadable"), BackendUnavailable("no onnx")])
def test_a_graph_that_can_not_be_read_here_is_the_engines_to_judge(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("fastface.backends.sessions.open_batched.margin_graphs_of", refuse)
    model = ModelFile(tmp_path / "detector.onnx", "detection", family="SCRFD")
    model.path.write_bytes(b"for others to read")
    opened: list[Path] = []

    def open_graph(path: Path, note: str) -> Doubling:
        opened.append(path)
        return Doubling()

    session = open_batched(model, lambda: BatchedGraph(model.path, True), open_graph)
    assert isinstance(session, Doubling) and opened == [model.path]


def test_weights_can_wait_in_memory():
    world = World(MovableDoubling(), MovableMarginSession)
    assert isinstance(world.session, Movable) and not isinstance(World().session, Movable)
    world.run((32, 64))
    world.session.leave_device()
    world.session.return_to_device()
    assert world.below.moves == ["left", "returned"]
    world.run((32, 64))
    # What was kept of empty canvases left the device too, and so did the other graphs.
    assert world.empty.seen == [(1, 3, 64, 64)] * 2 and world.opened == ["empty"] * 2


def test_the_torch_backend_moves_its_weights(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    backend = get_backend("torch")
    assert isinstance(backend, GraphBackend)
    assert isinstance(backend.open_session(model, Placement("cpu", "fp32")), Movable)


def test_what_compiles_for_a_size_is_given_whole_canvases(test_data: Path):
    model = read_pack("models", test_data / "models").model("detection")
    opened: list[Path] = []

    def open_graph(path: Path, note: str) -> Doubling:
        opened.append(path)
        return Doubling()

    prepared = batched_graph(model)
    session = open_batched(model, lambda: prepared, open_graph, any_size=False)
    assert isinstance(session, Doubling) and opened == [prepared.path]
    assert isinstance(open_batched(model, lambda: prepared, open_graph), MarginSession)
    assert len(opened) == 2


def test_many_threads_share_it():
    world = World()
    wrong: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for turn in range(20):
            filled_hw, size_hw = (8 + number, 16 + turn), (64, 64 + 32 * (turn % 9))
            images = canvases(filled_hw, 1, size_hw)
            canvas = Canvas(filled_hw, filled_hw, size_hw)
            (got,) = on_canvas(world.session, canvas, images)
            if not torch.equal(got, 2 * images):
                wrong.append(filled_hw)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and sorted(world.opened) == ["empty", "right"]


def test_the_session_it_falls_back_to_gets_whole_canvases():
    class Broken(Doubling):
        def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
            raise BackendUnavailable("the device is gone")

    slow = Doubling()

    def open_at(placement: Placement) -> Session:
        return slow if placement.device == "cpu" else World(Broken()).session

    name = ModelName("pack", "detection", "fake", "model.onnx")
    session = EvictableSession(name, open_at, Placement("fast"), 1, Placement("cpu"), BLACK)
    images, parts = canvases((32, 64), 1, (64, 64)), []
    (got,) = on_canvas(session, Canvas((32, 64), (32, 64), (64, 64)), images, parts)
    assert parts == [(32, 64)] and torch.equal(got, 2 * images)
    assert slow.seen == [(1, 3, 64, 64)]
