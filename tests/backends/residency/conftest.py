"""Models that are opened and do nothing but count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from fastface.backends.placement import Placement, RunsOn
from fastface.backends.residency import model_registry
from fastface.backends.residency.model_registry import ModelName
from fastface.backends.sessions.evictable_session import EvictableSession

ONE = torch.ones(1, 1)


class Engine:
    """A session that adds one, and may be told to stop on its way or to fail."""

    device = torch.device("cpu")

    def __init__(self, placement: Placement) -> None:
        self.runs_on = RunsOn(placement.device, "fake")
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.entered.set()
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        return (x + 1,)


class World:
    """The models there are."""

    def __init__(self) -> None:
        self.opened: list[Engine] = []
        self.kept: list[EvictableSession] = []

    def model(
        self,
        pack: str = "pack",
        task: str = "detection",
        size_bytes: int = 100,
        placement: Placement | None = None,
        slower: Placement | None = None,
        prepare: Callable[[Engine], None] = lambda engine: None,
    ) -> EvictableSession:
        def open_at(placement: Placement) -> Engine:
            engine = Engine(placement)
            prepare(engine)
            self.opened.append(engine)
            return engine

        name = ModelName(pack, task, "fake", "model.onnx")
        session = EvictableSession(name, open_at, placement or Placement(), size_bytes, slower)
        self.kept.append(session)
        return session


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """No models but those of the test."""
    monkeypatch.setattr(model_registry, "_models", type(model_registry._models)())
    world = World()
    yield world
    for engine in world.opened:
        engine.go_on.set()
