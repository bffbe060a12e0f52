"""Sessions leave when memory is wanted, come back when needed, and never under a running call."""

from __future__ import annotations

import threading

import pytest
import torch

from fastface.backends.placement import Placement, RunsOn
from fastface.backends.residency.model_registry import ModelName
from fastface.backends.sessions.evictable_session import EvictableSession

ONE = torch.ones(1)
NAME = ModelName("pack", "detection", "fake", "model.onnx")


class Closing:
    """A session that can only be closed and opened again."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")
    raw = "raw"

    def run(self, x):
        return (x + 1,)


class Moving(Closing):
    """A session whose weights can wait in main memory."""

    def __init__(self) -> None:
        self.moves: list[str] = []

    def leave_device(self) -> None:
        self.moves.append("left")

    def return_to_device(self) -> None:
        self.moves.append("returned")


def managed(kind: type) -> tuple[EvictableSession, list]:
    opened: list = []

    def open_session():
        opened.append(kind())
        return opened[-1]

    return EvictableSession(NAME, lambda placement: open_session(), Placement(), 100), opened


def test_a_closed_session_is_opened_again_when_it_runs() -> None:
    session, opened = managed(Closing)
    session.release()
    assert not session.is_loaded
    assert session.run(ONE)[0].item() == 2
    assert session.is_loaded and len(opened) == 2


def test_on_the_cpu_a_moving_session_is_closed_too() -> None:
    session, opened = managed(Moving)
    session.release()
    assert session.status() is None and opened[0].moves == []


def test_elsewhere_a_moving_session_is_moved_instead() -> None:
    session, opened = managed(Moving)
    session.device = torch.device("meta")
    session.release()
    assert session.status().device == "cpu"
    session.release()
    assert not session.is_loaded
    session.run(ONE)
    session.run(ONE)
    assert len(opened) == 1
    assert opened[0].moves == ["left", "returned"]


def test_the_engines_object_can_be_had_after_a_release() -> None:
    session, _ = managed(Closing)
    session.release()
    assert session.raw == "raw"


@pytest.mark.parametrize("kind", [Closing, Moving])
def test_a_release_waits_for_the_running_call(kind: type) -> None:
    entered, go_on, order = threading.Event(), threading.Event(), []

    class Slow(kind):
        def run(self, x):
            entered.set()
            assert go_on.wait(5)
            order.append("ran")
            return (x,)

    session, _ = managed(Slow)
    call = threading.Thread(target=session.run, args=(ONE,))
    call.start()
    assert entered.wait(5)
    release = threading.Thread(target=lambda: (session.release(), order.append("released")))
    release.start()
    release.join(0.05)
    assert session.is_loaded
    go_on.set()
    call.join(5)
    release.join(5)
    assert order == ["ran", "released"]
    assert not session.is_loaded


@pytest.mark.parametrize("kind", [Closing, Moving])
def test_threads_run_while_another_releases(kind: type) -> None:
    session, _ = managed(kind)
    stop, errors = threading.Event(), []

    def releasing() -> None:
        while not stop.is_set():
            session.release()

    def running() -> None:
        try:
            for _ in range(200):
                assert session.run(ONE)[0].item() == 2
        except Exception as error:  # noqa: BLE001 - whatever a thread meets is the finding
            errors.append(error)

    releaser = threading.Thread(target=releasing)
    releaser.start()
    runners = [threading.Thread(target=running) for _ in range(4)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(30)
    stop.set()
    releaser.join(5)
    assert not errors and not any(runner.is_alive() for runner in runners)
