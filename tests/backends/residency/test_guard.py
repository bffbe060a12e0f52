"""Before a model is loaded there is room for it: what is idle goes, or there is a clear error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends
from fastface.pipeline import lifecycle
from fastface.utils import free_memory
from fastface.utils.errors import OutOfMemory
from fastface.utils.host import patcher
from fastface.utils.packs.checksums import content_bytes
from tests.backends.residency.conftest import ONE, World
from tests.backends.small_pack import make_small_pack

MB = 1_000_000
GPU, CPU = Placement("cuda"), Placement("cpu")

Free = Callable[[int], None]


@pytest.fixture
def ram(world: World, monkeypatch: pytest.MonkeyPatch) -> Free:
    """Sets how much RAM there is; models that are loaded take of it."""
    total = {"bytes": 10_000 * MB}

    def free() -> int:
        return total["bytes"] - sum(model.size_bytes for model in lifecycle.loaded())

    monkeypatch.setattr(free_memory, "free_ram", free)
    return lambda size: total.update(bytes=size)


@pytest.fixture
def vram(monkeypatch: pytest.MonkeyPatch) -> Free:
    free = {"bytes": 10_000 * MB}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(free_memory, "free_vram", lambda device: free["bytes"])
    return lambda size: free.update(bytes=size)


def test_with_room_nothing_is_said_and_nothing_goes(world: World, ram: Free, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        world.model("first", size_bytes=50 * MB)
        ram(50 * MB + 200 * MB)
        world.model("second", size_bytes=100 * MB)
    assert not caplog.records
    assert [model.pack for model in lifecycle.loaded()] == ["first", "second"]


def test_too_little_warns_and_releases_what_is_idle(world: World, ram: Free, caplog) -> None:
    first = world.model("first", size_bytes=50 * MB)
    ram(201 * MB)
    world.model("second", size_bytes=100 * MB)
    assert [model.pack for model in lifecycle.loaded()] == ["second"]
    assert "second detection (model.onnx) needs 200 MB of RAM" in caplog.text
    assert "151 MB are free" in caplog.text
    assert first.run(ONE)[0].item() == 2, "what went comes back"


@pytest.mark.parametrize(
    ("name", "factor"), [("onnxruntime", 3.2), ("torch", 2.8), ("openvino", 2.8)]
)
def test_each_engine_asks_for_what_opening_takes(
    world: World, ram: Free, tmp_path: Path, name: str, factor: float
) -> None:
    backend = all_backends()[name]
    if reason := backend.why_unavailable():
        pytest.skip(reason)
    pack = make_small_pack(tmp_path / "small")
    size = content_bytes(pack.model("recognition"))
    ram(round(factor * size) - 1)
    with pytest.raises(OutOfMemory, match="of RAM while it is loaded"):
        backend.open(pack, "recognition", Placement())
    ram(round(factor * size))
    assert backend.open(pack, "recognition", Placement()).runs_on.device == "cpu"


def test_far_too_little_is_an_error_and_later_it_works(world: World, ram: Free) -> None:
    first = world.model("first", size_bytes=50 * MB)
    lifecycle.unload()
    ram(99 * MB)
    with pytest.raises(OutOfMemory, match="only 99 MB are free with everything idle released"):
        first.run(ONE)
    with pytest.raises(OutOfMemory, match="needs 400 MB of RAM"):
        world.model("second", size_bytes=200 * MB)
    assert lifecycle.loaded() == []
    ram(100 * MB)
    assert first.run(ONE)[0].item() == 2


def test_a_full_card_asks_comfyui_to_make_room_first(
    world: World, vram: Free, monkeypatch, caplog
) -> None:
    asked = []
    vram(10 * MB)

    def make_room(size: int, device: torch.device) -> None:
        asked.append((size, str(device)))
        vram(200 * MB)

    monkeypatch.setattr(patcher, "make_room", make_room)
    world.model(placement=GPU, size_bytes=100 * MB)
    assert asked == [(200 * MB, "cuda:0")]
    assert world.opened[-1].runs_on.device == "cuda"


def test_a_full_card_means_the_cpu_or_an_error(world: World, vram: Free, caplog) -> None:
    vram(199 * MB)
    model = world.model(placement=GPU, slower=CPU, size_bytes=100 * MB)
    assert model.run(ONE)[0].item() == 2 and model.runs_on.device == "cpu"
    assert "needs 200 MB of memory of cuda:0" in model.runs_on.note
    lifecycle.unload()
    model.run(ONE)
    assert "needs 200 MB of memory of cuda:0" in model.runs_on.note, "and it is said ever after"
    with pytest.raises(OutOfMemory, match="memory of cuda:0"):
        world.model(placement=GPU, size_bytes=100 * MB)


def test_the_users_budget_counts_as_what_there_is(world: World, vram: Free, monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_GPU_MEM_LIMIT", "150MB")
    with pytest.raises(OutOfMemory, match="150 MB are free"):
        world.model(placement=GPU, size_bytes=100 * MB)
    world.model(placement=GPU, size_bytes=70 * MB)
