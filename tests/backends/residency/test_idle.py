"""What nobody used for a while leaves memory, by one thread that lives no longer than needed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fastface.backends.residency import evictable_model, idle_evictor, model_registry
from fastface.backends.residency.idle_evictor import IdleEvictor
from fastface.pipeline import lifecycle
from tests.backends.residency.conftest import ONE, World


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether something comes true; only a test that fails waits long."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def watch(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdleEvictor]:
    watch = IdleEvictor()
    monkeypatch.setattr(idle_evictor, "watch", watch)
    monkeypatch.setattr(evictable_model, "watch", watch)
    yield watch
    lifecycle.unload()
    watch.look_again()
    assert eventually(lambda: not watch.is_awake)


def test_an_idle_model_goes_and_so_does_the_thread(world: World, watch, monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_OFFLOAD_TIMEOUT", "0.05")
    model = world.model()
    assert watch.is_awake
    assert eventually(lambda: model.status() is None)
    assert eventually(lambda: not watch.is_awake)
    assert model.run(ONE)[0].item() == 2
    assert watch.is_awake, "and comes back with the model"
    assert eventually(lambda: model.status() is None)


def test_there_is_one_thread(world: World, watch) -> None:
    before = set(threading.enumerate())
    for task in ("detection", "recognition"):
        world.model(task=task).run(ONE)
    (thread,) = set(threading.enumerate()) - before
    assert thread.name == "FastFace idle" and thread.daemon


def test_a_timeout_of_nothing_keeps_models_and_needs_no_thread(world, watch, monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_OFFLOAD_TIMEOUT", "0")
    world.model().run(ONE)
    assert not watch.is_awake and len(lifecycle.loaded()) == 1


def test_nothing_goes_under_a_running_call(world: World, watch, monkeypatch) -> None:
    monkeypatch.setenv("FASTFACE_OFFLOAD_TIMEOUT", "0.02")
    busy, lazy = world.model("busy"), world.model("lazy")
    with busy.in_use():
        assert eventually(lambda: lazy.status() is None)
        assert busy.status() is not None and busy.status().idle_seconds == 0
    assert eventually(lambda: busy.status() is None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(world: World, watch, monkeypatch) -> None:
    model = world.model()
    with monkeypatch.context() as patch:
        patch.setattr(watch, "_release_idle", sys.exit)
        watch.look_again()
        assert eventually(lambda: not watch.is_awake)
    model.run(ONE)
    assert watch.is_awake


def test_trouble_with_one_model_costs_no_other(world: World, watch, monkeypatch, caplog) -> None:
    monkeypatch.setenv("FASTFACE_OFFLOAD_TIMEOUT", "0.02")
    monkeypatch.setattr(idle_evictor, "_SLEEP_AFTER_TROUBLE_SECONDS", 0.01)
    troubles = [RuntimeError("trouble")]
    drop = model_registry.drop

    def failing_once(*arguments):
        if troubles:
            raise troubles.pop()
        return drop(*arguments)

    monkeypatch.setattr(model_registry, "drop", failing_once)
    model = world.model()
    assert eventually(lambda: model.status() is None)
    assert "idle models could not be released" in caplog.text and "trouble" in caplog.text


def test_a_thread_that_can_not_be_started_costs_no_call(world, watch, monkeypatch, caplog) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        model = world.model()
        assert [model.run(ONE)[0].item() for _ in range(3)] == [2, 2, 2]
    assert caplog.text.count("'FastFace idle' can't be started") == 1
    assert not watch.is_awake
    model.run(ONE)
    assert watch.is_awake, "and is, as soon as there is room for it"
