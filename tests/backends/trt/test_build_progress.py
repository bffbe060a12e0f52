"""How far a build is, from phases within phases."""

from __future__ import annotations

import pytest

from fastface.backends.trt.build_progress import Phases, Watch
from tests.backends.trt.on_stub import library_of
from tests.backends.trt.stub import TENSORRT_11, StubModule


def test_a_phase_within_another_fills_one_of_its_steps():
    phases = Phases()
    phases.start("all", None, 4)
    phases.step("all", 0)
    assert phases.share == 0.25
    phases.start("part", "all", 2)
    phases.step("part", 0)
    assert phases.share == 0.375
    phases.finish("part")
    assert phases.share == 0.5
    phases.step("all", 1)
    assert phases.share == 0.5
    phases.finish("all")
    assert phases.share == 1.0


def test_the_share_never_falls_and_never_passes_one():
    phases = Phases()
    phases.start("first", None, 2)
    phases.finish("first")
    for name in ("second", "third"):
        phases.start(name, None, 0)
        phases.step(name, 5)
        assert phases.share == 1.0
        phases.finish(name)
    phases.step("unknown", 1)
    phases.finish("unknown")
    assert phases.share == 1.0


def test_what_the_listener_raises_ends_the_build_and_is_raised_again():
    class Interrupted(BaseException):
        pass

    heard: list[float] = []

    def listen(share: float) -> None:
        heard.append(share)
        raise Interrupted

    watch = Watch(library_of(StubModule(TENSORRT_11)), listen)
    watch.monitor.phase_start("all", None, 2)
    assert not watch.monitor.step_complete("all", 0)
    # Builders go on for a while; nobody is disturbed a second time.
    assert not watch.monitor.step_complete("all", 1) and heard == [0.5]
    watch.monitor.phase_finish("all")
    with pytest.raises(Interrupted):
        watch.end()
