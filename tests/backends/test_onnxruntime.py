"""The ONNX Runtime backend on the runtime that is installed, or without one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import Session
from fastface.backends.onnx_graphs import cpu_optimized
from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.placement import Placement
from fastface.backends.providers.provider_table import CPU
from fastface.backends.sessions.ort_session import OrtSession
from fastface.benchmark.synthetic_models.heads import gender_age
from fastface.benchmark.synthetic_models.recognizers import mobile_face_net
from fastface.utils import cores, host
from fastface.utils.cores import usable_cores
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError
from fastface.utils.packs import ModelFile

CUDA = "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "onnxruntime is not installed; run `python install.py` in"),
        (lambda: ModuleType("onnxruntime"), "only a remainder of an earlier installation"),
    ],
)
def test_a_missing_runtime_is_named_with_its_remedy(monkeypatch, tmp_path, make, said):
    # None in sys.modules makes the import fail as if there were no such module.
    monkeypatch.setitem(sys.modules, "onnxruntime", make())
    backend = OnnxRuntimeBackend()
    assert said in backend.why_unavailable()
    assert backend.devices() == ()
    with pytest.raises(BackendUnavailable, match=r"install\.py"):
        backend.open_session(ModelFile(tmp_path / "x.onnx", "recognition"), Placement())


def test_a_runtime_that_does_not_load_is_named_with_its_text(monkeypatch, tmp_path):
    broken = tmp_path / "onnxruntime"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('numpy.core is gone')")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "does not load (numpy.core is gone)" in OnnxRuntimeBackend().why_unavailable()


@pytest.fixture
def backend():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return OnnxRuntimeBackend()


@pytest.fixture
def detector(test_data):
    return ModelFile(test_data / "models" / "scrfd_2.5g_bnkps.onnx", "detection", family="SCRFD")


def test_threads_follow_the_cores_or_the_settings(backend, detector, monkeypatch):
    def threads() -> int:
        session = backend.open_session(detector, Placement())
        return session.raw.get_session_options().intra_op_num_threads

    assert threads() == usable_cores()
    monkeypatch.setenv("FASTFACE_THREADS", "3")
    assert threads() == 3


@pytest.fixture
def recogniser(test_data):
    return ModelFile(test_data / "models" / "mobilefacenet.onnx", "recognition")


def plain_run(model: ModelFile, x: torch.Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model.path), providers=[CPU])
    outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return [np.asarray(output) for output in outputs]


def images(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_the_cpu_is_always_offered(backend, monkeypatch):
    monkeypatch.setattr(cores, "cpu_features", lambda: frozenset({"avx2"}))
    assert backend.devices()[-1] == "cpu"
    assert backend.precisions("cpu") == ("fp32",)


def test_detection_equals_a_plain_run_bit_for_bit(backend, detector):
    session = backend.open_session(detector, Placement())
    assert isinstance(session, Session)
    assert str(session.runs_on) == f"{CPU} on cpu, 100% of its nodes"
    batch = images(3, 160, 192)
    results = session.run(batch)
    for i in range(len(batch)):
        expected = plain_run(detector, batch[i : i + 1])
        assert len(results) == len(expected) == 9
        assert all(np.array_equal(a[i].numpy(), b) for a, b in zip(results, expected, strict=True))


def test_recognition_equals_a_plain_run_bit_for_bit(backend, recogniser):
    session = backend.open_session(recogniser, Placement(strict=True))
    batch = images(3, 112, 112)
    (together,) = session.run(batch)
    assert together.shape == (3, 128)
    for i in range(len(batch)):
        (expected,) = plain_run(recogniser, batch[i : i + 1])
        assert np.array_equal(together[i : i + 1].numpy(), expected)


@pytest.mark.parametrize(
    ("make", "task", "side"),
    [(gender_age, "genderage", 96), (lambda: mobile_face_net("mbf", "516"), "recognition", 112)],
    ids=["genderage", "mobilefacenet"],
)
def test_networks_with_prelu_run_without_it_and_answer_the_same(
    backend, make, task, side, tmp_path, monkeypatch
):
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(cpu_optimized, "is_x86", lambda: True)
    model = ModelFile(tmp_path / "net.onnx", task)
    onnx.save(make(), model.path)
    session = backend.open_session(model, Placement(strict=True))
    batch = images(3, side, side)
    (together,) = session.run(batch)
    for i in range(len(batch)):
        (expected,) = plain_run(model, batch[i : i + 1])
        np.testing.assert_allclose(together[i : i + 1].numpy(), expected, rtol=1e-4, atol=1e-4)
    (file,) = (tmp_path / "cache" / "graphs").glob("cpu_optimized-*.onnx")
    assert "PRelu" not in {node.op_type for node in onnx.load(file).graph.node}


def test_bound_tensors_give_the_same_and_are_the_callers(backend, recogniser, monkeypatch):
    import onnxruntime

    if not hasattr(onnxruntime.capi.onnxruntime_pybind11_state.OrtValue, "__dlpack__"):
        pytest.skip("before 1.22 onnxruntime can't hand its memory over, so nothing is bound")
    plain = backend.open_session(recogniser, Placement())
    # The CPU's memory can be bound as a GPU's is; only the stream has to be made up.
    synchronised = []
    stream = SimpleNamespace(synchronize=lambda: synchronised.append(1))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    bound = OrtSession(plain.raw, plain.runs_on, torch.device("cpu"), "net.onnx", (RuntimeError,))
    first, second = images(2, 112, 112).split(1)
    (kept,) = bound.run(first)
    (other,) = bound.run(second)
    assert torch.equal(kept, plain.run(first)[0])
    assert torch.equal(other, plain.run(second)[0])
    # Before the runtime reads, and after its memory has been copied.
    assert len(synchronised) == 4


def test_threads_share_a_session(backend, recogniser):
    session = backend.open_session(recogniser, Placement())
    batch = images(2, 112, 112)
    (expected,) = session.run(batch)
    results: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: results.extend(session.run(batch)[0] for _ in range(4)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 32
    assert all(torch.equal(result, expected) for result in results)


def test_any_memory_layout_and_dtype_is_taken_and_left_alone(backend, recogniser):
    session = backend.open_session(recogniser, Placement())
    x = images(1, 112, 112)
    (expected,) = session.run(x)
    kept = x.clone()
    for other in (x.to(memory_format=torch.channels_last), x.double(), x.requires_grad_()):
        assert torch.equal(session.run(other)[0], expected)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    "shape", [(0, 3, 112, 112), (1, 3, 112), (1, 1, 112, 112), (1, 3, 100, 112)]
)
def test_a_shape_the_graph_does_not_take_is_refused(backend, recogniser, shape):
    session = backend.open_session(recogniser, Placement())
    with pytest.raises(InvalidInput, match="got a"):
        session.run(torch.zeros(shape))


def test_a_tensor_elsewhere_is_refused(backend, recogniser):
    session = backend.open_session(recogniser, Placement())
    with pytest.raises(InvalidInput, match=r"got a tensor on meta, expected it on cpu"):
        session.run(torch.zeros(1, 3, 112, 112, device="meta"))


def test_cuda_on_a_machine_without_it_is_reported(backend, recogniser, caplog):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    session = backend.open_session(recogniser, Placement("cuda"))
    (text,) = [record.getMessage() for record in caplog.records if record.name == "FastFace"]
    assert "mobilefacenet.onnx: asked for cuda:0 (CUDAExecutionProvider), got CPU" in text
    assert "CUDA" in session.runs_on.note or "NVIDIA" in session.runs_on.note
    assert session.device == torch.device("cpu")
    assert session.run(images(1, 112, 112))[0].shape == (1, 128)
    with pytest.raises(BackendUnavailable, match="asked for cuda:0"):
        backend.open_session(recogniser, Placement("cuda", strict=True))


def write_graph(path: Path, operator: str, opset: int = 17, input_type: int = 1) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx writes the graphs of this test")
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", input_type, ["B", 3, 4, 4])],
        [helper.make_tensor_value_info("y", input_type, ["B", 3, 4, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"\(0 bytes\).*delete it and download the pack again"),
        (b"<html>404</html>" * 50, "no ONNX graph that can be run"),
        (b"PK\x03\x04" + bytes(500), "no ONNX graph that can be run"),
        (None, "is not there; download the pack again"),
    ],
    ids=["empty", "html", "zip", "none"],
)
@pytest.mark.parametrize("placement", [Placement(), Placement("cuda"), Placement(strict=True)])
def test_a_file_that_is_no_graph_is_named(backend, tmp_path, content, said, placement):
    path = tmp_path / "det_10g.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"(?s)det_10g\.onnx.*{said}"):
        backend.open_session(ModelFile(path, "detection"), placement)


def test_a_truncated_file_is_named(backend, recogniser, tmp_path):
    content = recogniser.path.read_bytes()
    path = tmp_path / "w600k_r50.onnx"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"w600k_r50\.onnx .*delete it and download"):
        backend.open_session(ModelFile(path, "recognition"), Placement())


@pytest.mark.parametrize(
    ("operator", "opset", "input_type", "said"),
    [
        ("Relu", 99, 1, "update it with"),
        ("Frobnicate", 17, 1, "update it with"),
        ("Abs", 17, 7, r"has the inputs x: tensor\(int64\)"),
    ],
    ids=["newer opset", "unknown operator", "no image"],
)
def test_a_graph_the_runtime_can_not_run_is_named(
    backend, tmp_path, operator, opset, input_type, said
):
    path = tmp_path / "odd.onnx"
    write_graph(path, operator, opset, input_type)
    with pytest.raises(ModelError, match=rf"odd\.onnx .*{said}"):
        backend.open_session(ModelFile(path, "recognition"), Placement())


def test_a_graph_in_fp16_runs_in_fp16(backend, tmp_path):
    path = tmp_path / "half.onnx"
    write_graph(path, "Abs", input_type=10)
    model = ModelFile(path, "recognition", (None, 3, 4, 4), output_shapes=((None, 3, 4, 4),))
    x = images(2, 4, 4)
    (result,) = backend.open_session(model, Placement()).run(x)
    assert torch.equal(result, x.half().abs())


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives_and_stays_on_the_gpu(backend, detector, recogniser):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA GPU")
    if "cuda" not in backend.devices():
        pytest.skip("this onnxruntime is built without CUDA; onnxruntime-gpu has it")
    for model, batch in ((detector, images(3, 640, 640)), (recogniser, images(3, 112, 112))):
        session = backend.open_session(model, Placement("cuda", strict=True))
        assert session.device == torch.device("cuda", 0)
        assert session.runs_on.provider == CUDA
        results = session.run(batch.to(session.device))
        expected = backend.open_session(model, Placement()).run(batch)
        for a, b in zip(results, expected, strict=True):
            assert a.device == session.device
            torch.testing.assert_close(a.cpu(), b, atol=2e-3, rtol=2e-3)
        again = [session.run(batch.to(session.device)) for _ in range(3)]
        assert all(torch.equal(a, b) for run in again for a, b in zip(run, results, strict=True))
