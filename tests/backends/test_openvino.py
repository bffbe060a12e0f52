"""The OpenVINO backend on the real library, or without one."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from fastface.backends import openvino as openvino_module
from fastface.backends.interfaces import Session
from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.openvino import OpenVinoBackend
from fastface.backends.placement import Placement
from fastface.backends.sessions.margin_session import MarginSession
from fastface.backends.sessions.openvino_session import OpenVinoSession
from fastface.utils import cores
from fastface.utils.errors import (
    BackendUnavailable,
    FastFaceError,
    InvalidInput,
    ModelError,
    OutOfMemory,
)
from fastface.utils.packs import ModelFile, ModelPack

ON_GPU = Placement("xpu", "mixed")


@pytest.fixture(autouse=True)
def core_made_anew() -> Iterator[None]:
    made = openvino_module._core
    made.cache_clear()
    yield
    made.cache_clear()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "openvino is not installed, which is up to you; install it with: "),
        (
            lambda: ModuleType("openvino"),
            "does not load (module 'openvino' has no attribute 'Core'",
        ),
    ],
)
def test_where_it_is_missing_it_says_how_to_get_it(monkeypatch, tmp_path, make, said):
    # None in sys.modules makes the import fail as if there were no such module.
    monkeypatch.setitem(sys.modules, "openvino", make())
    backend = OpenVinoBackend()
    reason = backend.why_unavailable()
    assert reason is not None and said in reason and "-m pip install openvino" in reason
    assert backend.devices() == ()
    with pytest.raises(BackendUnavailable, match="pip install openvino"):
        backend.open_session(ModelFile(tmp_path / "x.onnx", "recognition"), Placement())


def test_one_that_does_not_load_is_named_with_its_text(monkeypatch, tmp_path):
    broken = tmp_path / "openvino"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libtbb is gone')")
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    reason = OpenVinoBackend().why_unavailable()
    assert reason is not None and "does not load (libtbb is gone)" in reason


@pytest.mark.parametrize(
    ("machine", "taken"), [("AMD64", True), ("x86_64", True), ("arm64", False)]
)
def test_auto_takes_it_where_it_is_known_to_be_faster(monkeypatch, machine: str, taken: bool):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    pack = ModelPack("pack", Path(), ())
    assert (OpenVinoBackend().why_not_auto(pack, "auto", "auto") is None) == taken


@pytest.fixture
def backend() -> OpenVinoBackend:
    pytest.importorskip("openvino", reason="openvino is not installed")
    return OpenVinoBackend()


@pytest.fixture(params=["scrfd_2.5g_bnkps detection 160 192", "mobilefacenet recognition 112 112"])
def case(request: pytest.FixtureRequest, test_data: Path) -> tuple[ModelFile, torch.Tensor]:
    name, task, height, width = request.param.split()
    model = ModelFile(test_data / "models" / f"{name}.onnx", task)
    random = torch.Generator().manual_seed(0)
    return model, torch.randn(4, 3, int(height), int(width), generator=random)


@pytest.fixture
def no_cheap_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that computes in fp32 alone, whatever this one does."""
    monkeypatch.setattr(cores, "cpu_features", lambda: frozenset({"avx2"}))


def test_the_cpu_is_offered_in_fp32(backend: OpenVinoBackend, no_cheap_instructions: None):
    assert backend.devices()[-1] == "cpu" and backend.precisions("cpu") == ("fp32",)
    assert backend.precisions("xpu") == ("fp32", "mixed", "fp16")


def test_a_batch_equals_onnxruntime_image_by_image(
    backend: OpenVinoBackend, case: tuple[ModelFile, torch.Tensor]
):
    model, batch = case
    session = backend.open_session(model, Placement())
    assert isinstance(session, Session)
    assert str(session.runs_on) == "OpenVINO CPU fp32 on cpu, 100% of its nodes"
    together = session.run(batch)
    reference = OnnxRuntimeBackend().open_session(model, Placement())
    for place in range(len(batch)):
        alone = reference.run(batch[place : place + 1])
        assert len(together) == len(alone)
        for got, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(got[place : place + 1], expected, rtol=1e-4, atol=2e-5)


def test_images_may_lie_in_memory_in_any_order(
    backend: OpenVinoBackend, case: tuple[ModelFile, torch.Tensor]
):
    model, batch = case
    session = backend.open_session(model, Placement())
    planes = session.run(batch)
    last = session.run(batch.contiguous(memory_format=torch.channels_last))
    strided = session.run(torch.cat([batch, batch], 3)[..., : batch.shape[3]])
    for want, *others in zip(planes, last, strided, strict=True):
        assert all(torch.equal(got, want) for got in others)


def test_one_compilation_serves_all_sizes(backend: OpenVinoBackend, test_data: Path):
    model = ModelFile(test_data / "models" / "scrfd_2.5g_bnkps.onnx", "detection", family="SCRFD")
    session = backend.open_session(model, Placement())
    for count, height, width in ((1, 640, 640), (2, 128, 128), (1, 320, 640), (3, 128, 128)):
        scores = session.run(torch.zeros(count, 3, height, width))[0]
        assert scores.shape[:2] == (count, height * width // 64 * 2)


class TestShapesThatKeepComing:
    """They are compiled for, in precisions in which that is faster."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The shapes of each compilation; a processor with the instructions for bf16."""
        monkeypatch.setattr(openvino_module, "why_not_native", lambda precision: None)
        compile_graph, shapes = openvino_module._compiled, []

        def noting(*given: Any) -> Any:
            shapes.append(given[4:])
            return compile_graph(*given)

        monkeypatch.setattr(openvino_module, "_compiled", noting)
        return shapes

    def test_at_the_third_run(self, backend: OpenVinoBackend, case: Any, asked: list[Any]):
        model, batch = case
        session = backend.open_session(model, Placement("cpu", "bf16"))
        before = list(asked)
        runs = [session.run(batch[:2]) for _ in range(4)]
        count, channels, height, width = batch[:2].shape
        assert asked[len(before) :] == [(((count, height, width, channels),),)]
        for other in runs[1:]:
            for want, got in zip(runs[0], other, strict=True):
                assert torch.cosine_similarity(want.flatten(), got.flatten(), 0) > 0.999
        # Others run as before.
        assert session.run(batch[:1])[0].shape[0] == 1
        assert len(asked) == len(before) + 1

    def test_not_in_fp32(self, backend: OpenVinoBackend, case: Any, asked: list[Any]):
        model, batch = case
        session = backend.open_session(model, Placement())
        runs = [session.run(batch[:2]) for _ in range(4)]
        assert not any(asked)
        assert all(torch.equal(runs[0][0], other[0]) for other in runs)

    def test_a_failure_costs_a_line_in_the_log(
        self, backend: OpenVinoBackend, case: Any, asked: list[Any], monkeypatch, caplog
    ):
        model, batch = case
        session = backend.open_session(model, Placement("cpu", "bf16"))
        want = session.run(batch[:1])

        def refuse(*_: Any) -> Any:
            raise OutOfMemory("no memory is left")

        whole = session.whole if isinstance(session, MarginSession) else session
        monkeypatch.setattr(whole, "_compile_for", refuse)
        with caplog.at_level(logging.WARNING, logger="FastFace"):
            runs = [session.run(batch[:1]) for _ in range(5)]
        (record,) = caplog.records
        assert "no memory is left" in record.getMessage()
        assert all(torch.equal(want[0], run[0]) for run in runs)


def test_results_are_the_callers(backend: OpenVinoBackend, case: tuple[ModelFile, torch.Tensor]):
    model, batch = case
    session = backend.open_session(model, Placement())
    first = session.run(batch[:1])
    kept = [result.clone() for result in first]
    session.run(batch[1:2])
    assert all(map(torch.equal, first, kept))


def test_threads_share_a_session(backend: OpenVinoBackend, case: tuple[ModelFile, torch.Tensor]):
    model, batch = case
    session = backend.open_session(model, Placement())
    expected = [session.run(image)[0] for image in batch.split(1)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: session.run(batch[n % 4 : n % 4 + 1])[0], range(64)))
    assert all(torch.equal(one, expected[n % 4]) for n, one in enumerate(found))
    whole = session.whole if isinstance(session, MarginSession) else session
    assert isinstance(whole, OpenVinoSession)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(1, 3, 100, 112), r"got a tensor of shape \(1, 3, 100, 112\), expected"),
        (torch.zeros(0, 3, 112, 112), "expected"),
        (torch.zeros(1, 3, 112, 112, device="meta"), "got a tensor on meta, expected it on cpu"),
    ],
)
def test_what_it_can_not_run_is_refused(backend, test_data: Path, x: torch.Tensor, said: str):
    model = ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")
    with pytest.raises(InvalidInput, match=said):
        backend.open_session(model, Placement()).run(x)


def test_threads_follow_the_cores_or_the_settings(backend, test_data: Path, monkeypatch):
    model = ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")
    monkeypatch.setenv("FASTFACE_THREADS", "1")
    session = backend.open_session(model, Placement())
    assert session.raw.get_property("INFERENCE_NUM_THREADS") == 1
    assert session.raw.get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (Placement("cuda"), "got device 'cuda', expected one of"),
        (Placement("cpu:x"), "got device 'cpu:x'"),
        (Placement("cpu:7"), "got device 'cpu:7', but it sees only"),
        (Placement("cpu", "bf16"), r"got precision 'bf16', expected one of \['fp32'\]"),
    ],
)
def test_what_it_has_not_got_is_refused(
    backend, test_data: Path, no_cheap_instructions: None, placement, said: str
):
    model = ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")
    with pytest.raises(InvalidInput, match=said):
        backend.open_session(model, placement)


def test_the_only_one_of_its_kind_is_the_first(
    backend, test_data: Path, no_cheap_instructions: None
):
    model = ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")
    assert backend.open_session(model, Placement("cpu:0")).runs_on.device == "cpu:0"
    assert backend.precisions("cpu:0") == ("fp32",)
    assert backend.precisions("xpu:1") == ("fp32", "mixed", "fp16")


def test_a_file_that_is_no_graph_is_named(backend, tmp_path: Path):
    path = tmp_path / "net.onnx"
    with pytest.raises(ModelError, match=r"net\.onnx is not there"):
        backend.open_session(ModelFile(path, "recognition"), Placement())
    path.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"net\.onnx"):
        backend.open_session(ModelFile(path, "recognition"), Placement())


class FakeCompiled:
    """A compiled graph on a GPU whose runs fail."""

    def __init__(self, error: str) -> None:
        port = SimpleNamespace(
            any_name="image",
            get_element_type=lambda: SimpleNamespace(to_string=lambda: "f32"),
            partial_shape=(),
        )
        self.inputs, self.outputs, self._error = [port], [], error

    def create_infer_request(self) -> Any:
        raise RuntimeError(self._error)

    def get_property(self, name: str) -> list[str]:
        return ["GPU.0"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [("out of memory", OutOfMemory), ("device lost", BackendUnavailable)],
)
def test_on_an_intel_gpu(
    backend, test_data: Path, monkeypatch, error: str, raised: type[FastFaceError]
):
    """With a stand-in for the GPU: what is asked of OpenVINO, and what its failures become."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def compile_model(graph: Any, target: str, properties: dict[str, Any]) -> FakeCompiled:
        asked.append((target, properties))
        return FakeCompiled(error)

    core = SimpleNamespace(
        available_devices=["CPU", "GPU.0", "GPU.1"],
        read_model=lambda path: path,
        compile_model=compile_model,
    )
    monkeypatch.setattr(openvino_module, "_core", lambda: core)
    assert backend.devices() == ("xpu", "cpu")
    models = test_data / "models"
    backend.open_session(
        ModelFile(models / "scrfd_2.5g_bnkps.onnx", "detection", family="SCRFD"), ON_GPU
    )
    recognition = ModelFile(models / "mobilefacenet.onnx", "recognition")
    session = backend.open_session(recognition, Placement("xpu:1", "mixed"))
    assert [target for target, _ in asked] == ["GPU", "GPU.1"]
    hints = [properties["INFERENCE_PRECISION_HINT"] for _, properties in asked]
    assert hints == ["f32", "f16"], "detection keeps its order of faces in fp32"
    assert all("CACHE_DIR" in properties for _, properties in asked)
    assert str(session.runs_on) == "OpenVINO GPU.0 fp16 on xpu:1, 100% of its nodes"
    with pytest.raises(raised, match="mobilefacenet"):
        session.run(torch.zeros(()))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RuntimeError("no such operator"), BackendUnavailable),
        (MemoryError("std::bad_alloc"), OutOfMemory),
    ],
)
def test_a_graph_it_can_not_compile_is_refused(
    backend, test_data: Path, monkeypatch, error: Exception, raised: type[FastFaceError]
):
    def compile_model(*_: Any) -> Any:
        raise error

    core = SimpleNamespace(
        available_devices=["CPU"],
        read_model=openvino_module._core().read_model,
        compile_model=compile_model,
    )
    monkeypatch.setattr(openvino_module, "_core", lambda: core)
    model = ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")
    with pytest.raises(raised, match=rf"mobilefacenet\.onnx.*{error}") as refused:
        backend.open_session(model, Placement())
    assert type(refused.value) is raised
