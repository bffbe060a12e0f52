"""`TrtSession`: by address, on a stream, in pieces; on stand-ins that compute on the CPU."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.placement import RunsOn
from fastface.backends.sessions import trt_session
from fastface.backends.sessions.trt_session import TrtSession
from fastface.backends.trt.build import BuildSpec, build
from fastface.backends.trt.library import Library
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError, OutOfMemory
from tests.backends.onnx_graphs.small_graphs import detector, in_onnxruntime
from tests.backends.trt.on_stub import GEFORCE, Stream, library_of, streams_of_the_cpu
from tests.backends.trt.stub import RECORDED, TENSORRT_11, TENSORRT_RTX, StubModule

pytest.importorskip("onnxruntime")

SHAPES = ((1, 3, 64, 64), (2, 3, 96, 96), (4, 3, 160, 160))
CPU = torch.device("cpu")


def graph() -> Any:
    """A detector with a batch axis, as the pack makes them."""
    from fastface.backends.onnx_graphs.batch_axis import with_batch_axis

    return with_batch_axis(detector())


GRAPH = graph()
OUTPUTS = [output.name for output in GRAPH.graph.output]


def opened(library: Library, outputs: list[str] = OUTPUTS, **options: Any) -> TrtSession:
    order = BuildSpec("a.onnx", GRAPH.SerializeToString(), SHAPES, 0)
    engine = build(library, GEFORCE, order, lambda share: None).engine
    runs_on = RunsOn("cuda:0", str(library))
    return TrtSession(library, engine, CPU, runs_on, "a.engine", outputs, **options)


def images(count: int, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(count))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    return streams_of_the_cpu(monkeypatch)


@pytest.mark.parametrize("name", RECORDED)
class TestEveryVersion:
    def test_results_are_those_of_the_graph_in_its_order(self, waits: Any, name: str):
        stub = StubModule(name)
        x = images(3)
        want = in_onnxruntime(GRAPH, x.numpy())
        got = opened(library_of(stub)).run(x)
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(one.numpy(), other)
        assert stub.seen["batches"] == [3] and stub.seen["memory"] == "USER_MANAGED"

    def test_larger_batches_run_in_pieces(self, waits: Any, name: str):
        stub = StubModule(name)
        x = images(10)
        got = opened(library_of(stub)).run(x)
        assert stub.seen["batches"] == [4, 4, 2]
        for one, other in zip(got, in_onnxruntime(GRAPH, x.numpy()), strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-6)


class TestRun:
    @pytest.fixture
    def stub(self, waits: Any) -> StubModule:
        return StubModule(TENSORRT_11)

    @pytest.fixture
    def session(self, stub: StubModule) -> TrtSession:
        return opened(library_of(stub))

    def test_results_belong_to_the_caller(self, session: TrtSession):
        first = session.run(images(2))
        kept = [each.clone() for each in first]
        second = session.run(images(3)[:2])
        assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
        addresses = {each.data_ptr() for each in (*first, *second)}
        assert len(addresses) == len(first) + len(second)

    def test_any_dtype_and_strides_are_taken(self, session: TrtSession):
        x = images(2)
        want = session.run(x)
        last = x.contiguous(memory_format=torch.channels_last)
        for other in (last, x.double(), x.flip(3).flip(3)):
            for a, b in zip(session.run(other), want, strict=True):
                torch.testing.assert_close(a, b, atol=1e-6, rtol=0)

    @pytest.mark.parametrize(
        "shape", [(2, 3, 32, 96), (2, 3, 96, 192), (0, 3, 96, 96), (2, 1, 96, 96), (3, 96, 96)]
    )
    def test_what_is_outside_the_profile_is_refused_with_the_profile(
        self, session: TrtSession, stub: StubModule, shape: tuple[int, ...]
    ):
        with pytest.raises(InvalidInput) as refused:
            session.run(torch.zeros(shape))
        said = str(refused.value)
        assert str(shape) in said and "1x3x64x64 to 4x3x160x160, best 2x3x96x96" in said
        assert "FastFace Build Engine" in said and "batches" not in stub.seen

    def test_a_tensor_elsewhere_is_refused(self, session: TrtSession):
        with pytest.raises(InvalidInput, match="on meta, expected it on cpu"):
            session.run(torch.zeros(1, 3, 64, 64, device="meta"))

    def test_a_run_that_fails_is_told(self, session: TrtSession, stub: StubModule):
        stub.fails.add("execute")
        with pytest.raises(BackendUnavailable, match=r"failed for \(1, 3, 64, 96\).*torch backend"):
            session.run(images(1))
        stub.fails.clear()
        session.run(images(1))

    def test_too_little_memory_is_told_as_such(self, session: TrtSession, monkeypatch):
        def full(*args: object, **options: object) -> None:
            raise torch.OutOfMemoryError("no memory left")

        monkeypatch.setattr(trt_session.torch, "empty", full)
        with pytest.raises(OutOfMemory, match="fewer images at a time"):
            session.run(images(1))

    def test_threads_do_not_meet(self, session: TrtSession):
        batches = [images(1 + number % 3) for number in range(24)]
        want = [in_onnxruntime(GRAPH, x.numpy()) for x in batches]
        failed: list[object] = []

        def work(numbers: range) -> None:
            for number in numbers:
                got = session.run(batches[number])
                if any(
                    not np.allclose(a.numpy(), b, atol=1e-6)
                    for a, b in zip(got, want[number], strict=True)
                ):
                    failed.append(number)

        threads = [threading.Thread(target=work, args=(range(n, 24, 4),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed


class TestStreams:
    def test_on_the_default_stream_it_runs_beside_and_both_wait(self, waits: Any):
        opened(library_of(StubModule(TENSORRT_11))).run(images(1))
        assert waits == [(7, 0), (0, 7)]

    def test_on_another_stream_it_runs_there(self, monkeypatch: pytest.MonkeyPatch):
        waits = streams_of_the_cpu(monkeypatch, current=5)
        stub = StubModule(TENSORRT_11)
        opened(library_of(stub)).run(images(1))
        assert waits == [] and Stream.waits == []


class TestCudaGraphs:
    @pytest.fixture
    def recorded_shapes(self, waits: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        shapes: list[Any] = []

        def record(way: Any, x: torch.Tensor) -> Any:
            shapes.append(tuple(x.shape))
            return way

        monkeypatch.setattr(trt_session, "captured", record)
        return shapes

    def test_shapes_that_keep_coming_are_recorded(self, recorded_shapes: list[Any]):
        session = opened(library_of(StubModule(TENSORRT_11)), cuda_graphs=True)
        for count in (1, 2, 1, 2, 1, 1):
            session.run(images(count))
        assert recorded_shapes == [(1, 3, 64, 96)]

    def test_not_unless_asked_for(self, recorded_shapes: list[Any]):
        session = opened(library_of(StubModule(TENSORRT_11)))
        for _ in range(4):
            session.run(images(1))
        assert recorded_shapes == []

    def test_rtx_does_it_itself(self, recorded_shapes: list[Any]):
        stub = StubModule(TENSORRT_RTX)
        session = opened(library_of(stub), cuda_graphs=True)
        for _ in range(4):
            session.run(images(1))
        assert recorded_shapes == [] and stub.seen["cuda_graphs"] == "WHOLE_GRAPH_CAPTURE"


@pytest.mark.parametrize("recorded", [lambda x: (x,), None], ids=["recorded", "not recorded"])
def test_memory_goes_with_the_last_reference(
    recorded: Any, waits: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trt_session, "captured", lambda way, x: recorded)
    gc.disable()
    try:
        session = opened(library_of(StubModule(TENSORRT_11)), cuda_graphs=True)
        for _ in range(4):
            session.run(images(1))
        engine = weakref.ref(session.raw)
        del session
        assert engine() is None
    finally:
        gc.enable()


class TestOpening:
    def test_one_that_the_library_refuses_is_told(self, waits: Any):
        stub = StubModule(TENSORRT_11)
        stub.fails.add("deserialize")
        with pytest.raises(BackendUnavailable, match=r"does not take a\.engine.*another card"):
            opened(library_of(stub))

    def test_one_of_another_network_is_told(self, waits: Any):
        with pytest.raises(ModelError, match="build it again"):
            opened(library_of(StubModule(TENSORRT_11)), ["embedding"])


@pytest.mark.gpu
def test_on_a_real_gpu_results_are_those_of_the_graph():
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    from fastface.backends.trt.library import card_here, choose_library

    card = card_here()
    try:
        library = choose_library(card)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    order = BuildSpec("a.onnx", GRAPH.SerializeToString(), SHAPES, 0)
    engine = build(library, card, order, lambda share: None).engine
    device = torch.device("cuda", 0)
    runs_on = RunsOn("cuda:0", str(library))
    for cuda_graphs in (False, True):
        session = TrtSession(library, engine, device, runs_on, "a", OUTPUTS, cuda_graphs)
        for count in (1, 3, 10, 3, 3, 3, 3):
            x = images(count)
            want = in_onnxruntime(GRAPH, x.numpy())
            for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
                with torch.cuda.stream(stream):
                    got = session.run(x.to(device))
                    results = [each.cpu().numpy() for each in got]
                for one, other in zip(results, want, strict=True):
                    np.testing.assert_allclose(one, other, atol=1e-4)
