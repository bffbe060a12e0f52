"""The ONNX Runtime backend on fake runtimes: fallbacks, strictness, failures."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from fastface.backends import onnxruntime as onnxruntime_backend
from fastface.backends.onnx_graphs.batched import BatchedGraph
from fastface.backends.onnxruntime import OnnxRuntimeBackend
from fastface.backends.placement import Placement
from fastface.backends.providers import provider_probe
from fastface.backends.providers.provider_table import CPU
from fastface.backends.providers.request import NO_CPU_FALLBACK
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError
from fastface.utils.packs import ModelFile

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
RTX, DIRECTML = "NvTensorRTRTXExecutionProvider", "DmlExecutionProvider"
GPU_BUILD = (("onnxruntime-gpu", "1.31.1"),)
REFUSED = "This session contains graph nodes that are assigned to the default CPU EP"


class Fail(Exception):
    """What the runtime raises: no relation of RuntimeError."""


class InvalidProtobuf(Exception):
    pass


class FakeRuntime(ModuleType):
    """An onnxruntime that lists some providers and gives nodes to fewer.

    Args:
        lists: What `get_available_providers` says.
        nodes: Operators by provider; a provider without an entry silently drops out.
        raises: What opening a session with a provider raises.
        records: Whether it is new enough to tell who got which node.
    """

    def __init__(self, lists, nodes=None, raises=None, records=True):
        super().__init__("onnxruntime")
        self.nodes = {CPU: ["Conv", "Conv"]} if nodes is None else nodes
        self.raises = raises or {}
        self.__file__ = None
        self.capi = SimpleNamespace(
            onnxruntime_pybind11_state=SimpleNamespace(
                Fail=Fail, InvalidProtobuf=InvalidProtobuf, OrtValue=object
            )
        )
        self.GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)
        self.RunOptions = SimpleNamespace
        self.opened: list[FakeSession | OldSession] = []
        self.run_error: Exception | None = None
        self.get_available_providers = lambda: [*lists, CPU]
        self.SessionOptions = FakeOptions
        self.InferenceSession = lambda *args, **kwargs: self._open(records, *args, **kwargs)

    def _open(self, records, path, options, providers=(), **kwargs):
        providers = providers or options.providers
        session = (FakeSession if records else OldSession)(self, options, providers, kwargs)
        self.opened.append(session)
        asked = [name for name, _ in providers]
        for name in asked:
            if name in self.raises:
                raise self.raises[name]
        if options.entries.get(NO_CPU_FALLBACK) == "1" and (
            CPU in asked or CPU in self.nodes or not set(asked) & set(self.nodes)
        ):
            raise Fail(f"{REFUSED}, but fallback to CPU EP has been explicitly disabled")
        return session


class FakeOptions:
    def __init__(self):
        self.entries = {}
        self.providers = []

    def add_provider_for_devices(self, devices, options):
        if not devices:
            raise Fail("Must provide one or more OrtEpDevice instances.")
        self.providers = [(devices[0].ep_name, options)]

    def add_session_config_entry(self, name, value):
        self.entries[name] = value


class OldSession:
    def __init__(self, runtime, options, providers, kwargs):
        self.runtime, self.options, self.providers, self.kwargs = (
            runtime,
            options,
            providers,
            kwargs,
        )

    def get_providers(self):
        taking = [name for name, _ in self.providers if name in self.runtime.nodes]
        return [*(name for name in taking if name != CPU), CPU]

    def get_inputs(self):
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["N", 3, 4, 4])]

    def get_outputs(self):
        return [SimpleNamespace(name="y", type="tensor(float)")]

    def run(self, names, feed, options=None):
        if self.runtime.run_error:
            raise self.runtime.run_error
        return [feed["x"] * 2]


class FakeSession(OldSession):
    def get_provider_graph_assignment_info(self):
        def part(name, operators):
            return SimpleNamespace(
                ep_name=name, get_nodes=lambda: [SimpleNamespace(op_type=op) for op in operators]
            )

        asked = [name for name, _ in self.providers]
        given = {name: ops for name, ops in self.runtime.nodes.items() if name in [*asked, CPU]}
        return [part(name, operators) for name, operators in (given or {CPU: ["Conv"]}).items()]


@pytest.fixture
def use(monkeypatch, tmp_path, caplog):
    """Installs a fake runtime; returns the function that opens a session in it."""
    caplog.set_level(logging.WARNING, "FastFace")
    graph = tmp_path / "net.onnx"
    graph.write_bytes(b"a graph")

    def opener(runtime, distributions=GPU_BUILD, gpu="", tuned=None, **backend_options):
        monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
        monkeypatch.setattr(provider_probe, "installed_distributions", lambda: distributions)
        monkeypatch.setattr(provider_probe, "missing_gpu", lambda index: gpu)
        # These are about providers: whether the graph takes batches is not tried in a fake.
        monkeypatch.setattr(
            onnxruntime_backend, "batched_graph", lambda model: BatchedGraph(model.path, True)
        )
        monkeypatch.setattr(
            onnxruntime_backend, "tuned_graph", tuned or (lambda graph, model: graph)
        )
        backend = OnnxRuntimeBackend(**backend_options)

        def open_session(device="cuda", strict=False, precision="fp32"):
            model = ModelFile(graph, "recognition", (None, 3, 4, 4), output_shapes=((None, 8),))
            return backend.open_session(model, Placement(device, precision, strict))

        return open_session

    return opener


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "FastFace"]


def test_a_provider_that_is_there_is_used_without_a_word(use, caplog):
    runtime = FakeRuntime([CUDA], nodes={CUDA: ["Conv", "Conv", "Conv"], CPU: ["Shape"]})
    session = use(runtime)("cuda:1")
    assert str(session.runs_on) == f"{CUDA} on cuda:1, 75% of its nodes"
    assert not session.runs_on.note
    assert not warnings(caplog)
    assert session.raw is runtime.opened[0]
    assert session.raw.providers[0][1]["device_id"] == "1"
    # Else a provider that fails in the middle of a run would be replaced by the CPU.
    assert session.raw.kwargs == {"enable_fallback": 0}
    assert session.raw.options.entries["session.force_spinning_stop"] == "1"


def test_only_the_cpu_is_given_graphs_that_are_tuned_for_it(use):
    asked = []

    def tuned(graph, model):
        asked.append(model.path.name)
        return graph

    opened = use(FakeRuntime([CUDA], nodes={CUDA: ["Conv"], CPU: ["Conv"]}), tuned=tuned)
    opened("cuda")
    assert asked == []
    opened("cpu")
    assert asked == ["net.onnx"]


@pytest.mark.parametrize(
    ("runtime", "distributions", "gpu", "said"),
    [
        (FakeRuntime([CUDA]), GPU_BUILD, "no driver", ["no driver"]),
        (
            FakeRuntime([]),
            (("onnxruntime", "1.31.1"),),
            "",
            ["onnxruntime 1.31.1 is built without it", "install onnxruntime-gpu"],
        ),
        (
            FakeRuntime([]),
            (("onnxruntime", "1.31.1"), *GPU_BUILD),
            "",
            ["onnxruntime 1.31.1 and onnxruntime-gpu 1.31.1 are installed at once"],
        ),
        (FakeRuntime([CUDA], raises={CUDA: RuntimeError("error 35")}), GPU_BUILD, "", ["error 35"]),
        (FakeRuntime([CUDA], nodes={CUDA: [], CPU: ["Conv"]}), GPU_BUILD, "", ["gave no reason"]),
        (FakeRuntime([CUDA], records=False), GPU_BUILD, "no driver", ["no driver"]),
    ],
    ids=["silent", "not built in", "several at once", "raises", "takes no node", "old runtime"],
)
def test_a_fallback_is_one_warning_and_a_strict_error(
    use, caplog, runtime, distributions, gpu, said
):
    open_session = use(runtime, distributions, gpu)
    session = open_session()
    open_session()
    (text,) = warnings(caplog)
    assert f"net.onnx: asked for cuda:0 ({CUDA}), got {CPU} on cpu" in text
    assert all(part in text for part in said), text
    assert session.runs_on.device == "cpu"
    assert session.runs_on.provider == CPU
    assert session.runs_on.note in text
    with pytest.raises(BackendUnavailable, match=r"net\.onnx: asked for cuda:0") as raised:
        open_session(strict=True)
    assert all(part in str(raised.value) for part in said), raised.value
    assert len(warnings(caplog)) == 1


def test_some_nodes_on_the_cpu_are_one_warning_and_a_strict_error(use, caplog):
    nodes = {CUDA: ["Conv", "Conv"], CPU: ["Shape", "PRelu"]}
    open_session = use(FakeRuntime([CUDA], nodes=nodes))
    session = open_session()
    assert (session.runs_on.provider, session.runs_on.share) == (CUDA, 0.5)
    (text,) = warnings(caplog)
    assert "2 of 4 nodes run on the CPU (1 Shape, 1 PRelu)" in text
    with pytest.raises(BackendUnavailable, match="2 of 4 nodes run on the CPU"):
        open_session(strict=True)


@pytest.mark.parametrize(
    ("nodes", "records", "opens"),
    [
        ({CUDA: ["Conv"]}, True, True),
        ({CUDA: ["Conv"]}, False, True),
        # The runtime refuses these; only nodes it can name show that they just compute shapes.
        ({CUDA: ["Conv"], CPU: ["Shape"]}, True, True),
        ({CUDA: ["Conv"], CPU: ["Shape"]}, False, False),
    ],
)
def test_strict_allows_the_cpu_shapes_and_nothing_else(use, caplog, nodes, records, opens):
    runtime = FakeRuntime([CUDA], nodes=nodes, records=records)
    open_session = use(runtime)
    if opens:
        assert open_session(strict=True).runs_on.provider == CUDA
    else:
        with pytest.raises(BackendUnavailable, match="can't say which"):
            open_session(strict=True)
    assert CPU not in dict(runtime.opened[0].providers)
    assert runtime.opened[0].options.entries[NO_CPU_FALLBACK] == "1"
    assert not warnings(caplog)


def test_tensorrt_that_fails_falls_back_to_cuda_first(use, caplog):
    error = RuntimeError("Please install TensorRT libraries")
    runtime = FakeRuntime([TENSORRT, CUDA], nodes={CUDA: ["Conv"]}, raises={TENSORRT: error})
    session = use(runtime)("tensorrt")
    assert (session.runs_on.provider, session.runs_on.device) == (CUDA, "cuda:0")
    (text,) = warnings(caplog)
    assert "Please install TensorRT libraries" in text


@pytest.mark.parametrize(
    ("device", "torch_has_cuda", "hands_over", "where"),
    [
        ("cuda:1", True, True, "cuda:1"),
        ("cuda:1", False, True, "cpu"),
        ("cuda:1", True, False, "cpu"),
        ("directml:1", True, True, "cpu"),
        ("cpu", True, True, "cpu"),
    ],
)
def test_tensors_stay_on_the_gpu_where_torch_and_the_runtime_can_share_it(
    use, monkeypatch, device, torch_has_cuda, hands_over, where
):
    runtime = FakeRuntime([CUDA, DIRECTML], nodes={CUDA: ["Conv"], DIRECTML: ["Conv"]})
    if hands_over:
        value = type("OrtValue", (), {"__dlpack__": None})
        runtime.capi.onnxruntime_pybind11_state.OrtValue = value
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_has_cuda)
    assert use(runtime)(device).device == torch.device(where)


def test_a_plugin_is_opened_on_the_device_of_its_index(use, caplog):
    runtime = FakeRuntime([], nodes={RTX: ["Conv"]})
    devices = [SimpleNamespace(ep_name=name, index=i) for i, name in enumerate([CPU, RTX, RTX])]
    runtime.get_ep_devices = lambda: devices
    session = use(runtime)("nvtensorrtrtx:1", strict=True)
    assert str(session.runs_on) == f"{RTX} on nvtensorrtrtx:1, 100% of its nodes"
    # The device is the plugin's own; it would refuse the option.
    ((provider, options),) = session.raw.providers
    assert provider == RTX
    assert "device_id" not in options
    assert not warnings(caplog)
    with pytest.raises(BackendUnavailable, match="Must provide one or more OrtEpDevice"):
        use(runtime)("nvtensorrtrtx:2", strict=True)


def test_several_distributions_are_named_even_when_all_goes_well(use, caplog):
    both = (("onnxruntime", "1.31.1"), *GPU_BUILD)
    open_session = use(FakeRuntime([CUDA]), both)
    open_session("cpu")
    open_session("cpu")
    (text,) = warnings(caplog)
    assert "onnxruntime 1.31.1 and onnxruntime-gpu 1.31.1 are installed at once" in text


@pytest.mark.parametrize(
    ("device", "precision", "error", "said"),
    [
        ("gpu", "fp32", InvalidInput, "got device 'gpu'"),
        ("cpu", "fp16", BackendUnavailable, "got precision 'fp16', offered: fp32"),
    ],
)
def test_what_is_not_offered_is_refused(use, device, precision, error, said):
    with pytest.raises(error, match=said):
        use(FakeRuntime([]))(device, precision=precision)


@pytest.mark.parametrize(
    ("nodes", "failure", "error", "said"),
    [
        ({CPU: ["Conv"]}, Fail("bad Reshape"), ModelError, "bad Reshape"),
        ({CPU: ["Conv"]}, MemoryError(), BackendUnavailable, "ran out of memory"),
        ({CUDA: ["Conv"]}, Fail("CUDA error 700"), BackendUnavailable, "CUDA error 700"),
        (
            {CUDA: ["Conv"]},
            Fail("Failed to allocate memory for requested buffer of size 12"),
            BackendUnavailable,
            "of size 12; it ran out of memory: use fewer images",
        ),
    ],
)
def test_a_run_that_fails_says_so(use, nodes, failure, error, said):
    runtime = FakeRuntime([CUDA], nodes=nodes)
    session = use(runtime)("cuda" if CUDA in nodes else "cpu")
    x = torch.ones(2, 3, 4, 4)
    assert torch.equal(session.run(x)[0], x * 2)
    with pytest.raises(InvalidInput, match=r"got a tensor of shape \(0, 3, 4, 4\)"):
        session.run(x[:0])
    runtime.run_error = failure
    with pytest.raises(error, match=said):
        session.run(x)


def test_engines_are_kept_where_told_or_not_at_all(use, caplog, tmp_path, monkeypatch):
    runtime = FakeRuntime([TENSORRT], nodes={TENSORRT: ["Conv"]})
    session = use(runtime, cache_folder=tmp_path / "engines")("tensorrt")
    folder = tmp_path / "engines" / "tensorrt"
    assert session.raw.providers[0][1]["trt_engine_cache_path"] == str(folder)
    assert folder.is_dir()

    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    session = use(runtime, cache_folder=occupied)("tensorrt")
    assert "trt_engine_cache_path" not in session.raw.providers[0][1]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    session = use(runtime, cache_folder=tmp_path / "readonly")("tensorrt")
    assert "trt_engine_cache_path" not in session.raw.providers[0][1]
    taken, readonly = warnings(caplog)
    assert str(occupied) in taken
    assert "readonly" in readonly
    assert "it is not writable" in readonly
