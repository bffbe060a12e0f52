"""Runs are ended from outside, with real engines: a network of seconds ends within a fraction."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import Session
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.placement import Placement, RunsOn
from fastface.backends.registry import get_backend
from fastface.backends.sessions.insightface_models import make_stoppable
from fastface.backends.sessions.openvino_session import OpenVinoSession
from fastface.backends.sessions.ort_session import OrtSession
from fastface.backends.sessions.running import Endings
from fastface.backends.sessions.torch_session import TorchSession
from fastface.utils import shutdown
from fastface.utils.packs.read import read_pack
from fastface.utils.progress import heard_by

#: A run of so many takes several times as long as it may take to end it, on a busy machine too.
_CONVOLUTIONS = 1500
_SOON_SECONDS = 10.0


class Stop(BaseException):
    pass


def stop_when(flag: threading.Event) -> Callable[[float], None]:
    def listen(_done: float) -> None:
        if flag.is_set():
            raise Stop

    return listen


@pytest.fixture
def own() -> Endings:
    return Endings()


class TestEndings:
    def test_where_nobody_listens_no_thread_is_started(self, own: Endings):
        assert own.run(lambda: 7, pytest.fail) == 7
        assert own._thread is None

    def test_a_run_that_nobody_stops_gives_its_result(self, own: Endings):
        with heard_by(lambda _done: None):
            assert own.run(lambda: time.sleep(0.25) or 7, pytest.fail) == 7

    def test_a_run_is_told_to_end_and_what_was_raised_comes_out(self, own: Endings):
        told, wanted = threading.Event(), threading.Event()

        def run() -> None:
            wanted.set()
            assert told.wait(10)
            raise RuntimeError("terminated")  # as engines do

        with heard_by(stop_when(wanted)), pytest.raises(Stop):
            own.run(run, told.set)

    def test_a_run_that_ends_before_it_hears_is_left_too(self, own: Endings):
        told, wanted = threading.Event(), threading.Event()
        with heard_by(stop_when(wanted)), pytest.raises(Stop):
            own.run(lambda: wanted.set() or told.wait(10), told.set)

    def test_an_error_of_the_run_itself_passes(self, own: Endings):
        def run() -> None:
            raise ZeroDivisionError

        with heard_by(lambda _done: None), pytest.raises(ZeroDivisionError):
            own.run(run, pytest.fail)

    def test_one_run_is_ended_and_another_goes_on(self, own: Endings):
        wanted, told = threading.Event(), threading.Event()
        results: list[object] = []

        def other() -> None:
            with heard_by(lambda _done: None):
                results.append(own.run(lambda: told.wait(10) and 7, pytest.fail))

        thread = threading.Thread(target=other)
        thread.start()
        with heard_by(stop_when(wanted)), pytest.raises(Stop):
            own.run(lambda: wanted.set() or told.wait(10), told.set)
        thread.join(10)
        assert results == [7]

    def test_where_no_thread_can_be_started_a_run_goes_on_to_its_end(
        self, own: Endings, monkeypatch: pytest.MonkeyPatch
    ):
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch, heard_by(lambda _done: None):
            patch.setattr(threading.Thread, "start", refuse)
            assert own.run(lambda: 7, pytest.fail) == 7
        told, wanted = threading.Event(), threading.Event()
        with heard_by(stop_when(wanted)), pytest.raises(Stop):
            own.run(lambda: wanted.set() or told.wait(10), told.set)

    def test_a_run_that_is_over_is_never_ended(self, own: Endings):
        # The engine may be at another run then, with the same request.
        ended: list[bool] = []
        entries: list[Any] = []
        with heard_by(lambda _done: None):
            own.run(lambda: entries.extend(own._runs), lambda: ended.append(True))
        with own._changed:
            (late,) = entries
        late._ask = pytest.fail
        late.ask()
        assert not ended and late.raised is None

    def test_its_thread_ends_with_the_process(self, own: Endings, monkeypatch: pytest.MonkeyPatch):
        with heard_by(lambda _done: None):
            own.run(lambda: 7, pytest.fail)
        thread = own._thread
        assert thread is not None
        monkeypatch.setattr(shutdown, "_ending", True)
        shutdown._threads[thread]()
        thread.join(5)
        assert not thread.is_alive()


def long_graph(convolutions: int = _CONVOLUTIONS) -> Any:
    """Hundreds of convolutions one after another: half a minute on a CPU, each a fraction."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    channels = 32
    weight = numpy_helper.from_array(
        np.full((channels, channels, 3, 3), 1 / (9 * channels), np.float32), "w"
    )
    names = ["x", *(f"y{number}" for number in range(convolutions))]
    nodes = [
        helper.make_node("Conv", [before, "w"], [after], pads=[1, 1, 1, 1])
        for before, after in itertools.pairwise(names)
    ]
    shape = [1, channels, "h", "w_"]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in (names[0], names[-1])
    ]
    graph = helper.make_graph(nodes, "long", ends[:1], ends[1:], [weight])
    opset = helper.make_opsetid("", 13)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def onnxruntime_session(model: Any) -> Session:
    onnxruntime = pytest.importorskip("onnxruntime")
    raw = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    runs_on = RunsOn("cpu", "CPUExecutionProvider")
    return OrtSession(raw, runs_on, None, "long.onnx", (RuntimeError,))


def openvino_session(model: Any) -> Session:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()

    def compiled() -> Any:
        graph = core.read_model(model.SerializeToString())
        return core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    return OpenVinoSession(compiled(), RunsOn("cpu", "CPU"), "long.onnx", compiled)


def torch_session(model: Any) -> Session:
    network = Network(graph_of(model, "long")).eval()
    return TorchSession(network, torch.device("cpu"), torch.float32, RunsOn("cpu", "torch"))


class UpstreamSession:
    """As insightface runs a network."""

    def __init__(self, model: Any) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        raw = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        make_stoppable(raw)
        self._raw = raw
        self._input = raw.get_inputs()[0].name

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.from_numpy, self._raw.run(None, {self._input: x.numpy()})))


OPENERS = [onnxruntime_session, openvino_session, torch_session, UpstreamSession]


class Refused(RuntimeError):
    """What a listener raises may be of the kind that the engine raises too."""


def refuse(_done: float) -> None:
    raise Refused


@pytest.mark.parametrize("open_session", OPENERS)
def test_what_a_listener_raised_is_no_error_of_the_engine(
    open_session: Callable[[Any], Session],
):
    session = open_session(long_graph(200))
    with heard_by(refuse), pytest.raises(Refused):
        session.run(torch.rand(1, 32, 512, 512))


@pytest.mark.parametrize("open_session", OPENERS)
def test_a_long_run_of_an_engine_is_ended(open_session: Callable[[Any], Session]):
    session = open_session(long_graph())
    small, large = (torch.rand(1, 32, side, side) for side in (8, 512))
    (expected,) = session.run(small)
    flag = threading.Event()
    timer = threading.Timer(0.5, flag.set)
    began = time.monotonic()
    timer.start()
    with heard_by(stop_when(flag)), pytest.raises(Stop):
        session.run(large)
    assert time.monotonic() - began < _SOON_SECONDS
    # It is as good as before, with a listener and without.
    with heard_by(lambda _done: None):
        assert torch.equal(session.run(small)[0], expected)
    assert torch.equal(session.run(small)[0], expected)


def test_a_long_run_of_openvino_is_ended_on_a_single_core_too():
    pytest.importorskip("openvino")
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    if len(cores) < 2:
        pytest.skip("this process has one core, or can't be told how many it has")
    script = (
        f"import os, pytest; os.sched_setaffinity(0, {{{min(cores)}}})\n"
        f"raise SystemExit(pytest.main(['-q', {__file__!r}, '-k', 'long_run_of_an and openvino']))"
    )
    # Another process: OpenVINO counts the cores once.
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_a_stoppable_session_is_let_go_at_once():
    session = UpstreamSession(long_graph(2))._raw
    gone = weakref.ref(session)
    gc.disable()
    try:
        del session
        assert gone() is None
    finally:
        gc.enable()


def test_what_insightface_opens_for_further_sizes_can_be_ended_too(test_data: Path):
    pytest.importorskip("insightface")
    pack = read_pack("models", test_data / "models")
    detector = get_backend("insightface").open(pack, "detection", Placement("cpu", "fp32"))
    with detector._app.in_use() as upstream:
        model = upstream.model("detection")
        if not hasattr(model, "_session_for_input_size"):
            pytest.skip("this insightface runs all sizes in one session")
        others = [model._session_for_input_size(size) for size in ((640, 640), (128, 96))]
        assert len({id(session) for session in (model.session, *others)}) > 1
        assert all("run" in vars(session) for session in (model.session, *others))
