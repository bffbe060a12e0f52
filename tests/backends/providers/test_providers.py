"""Execution providers as data, and what is asked of the runtime for each."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fastface.backends.providers.provider_table import (
    CPU,
    PROVIDERS,
    device_name,
    parse_device,
    row_of_device,
    row_of_provider,
)
from fastface.backends.providers.request import (
    NO_CPU_FALLBACK,
    attempts,
    available_devices,
    listed_providers,
    provider_options,
    session_request,
)
from fastface.utils.errors import InvalidInput

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
RTX = "NvTensorRTRTXExecutionProvider"


def runtime_with(*providers: str, plugins: tuple[str, ...] | None = ()) -> SimpleNamespace:
    """A runtime that lists these; `plugins=None` makes one from before there were plugins."""
    runtime = SimpleNamespace(get_available_providers=lambda: list(providers))
    if plugins is not None:
        runtime.get_ep_devices = lambda: [SimpleNamespace(ep_name=name) for name in plugins]
        runtime.register_execution_provider_library = lambda name, path: None
    return runtime


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row.device)
def test_every_row_can_be_asked_for(row):
    assert parse_device(row.device) == (row, 0)
    assert row_of_provider(row.provider) is row
    listed = frozenset({row.provider, CPU})
    for entry, strict in attempts(row, False, listed):
        providers, _ = session_request(entry, 0, strict, listed, Path("cache"))
        assert providers[0][0] == entry.provider
        assert all("{" not in value for _, options in providers for value in options.values())
    assert {helper.binds_on for helper in map(row_of_device, row.helpers)} <= {row.binds_on}
    assert "fp32" in row.precisions


def test_the_users_budget_reaches_the_providers_that_can_keep_it(monkeypatch):
    monkeypatch.setenv("FASTFACE_GPU_MEM_LIMIT", "2GiB")
    given = {row.device: provider_options(row) for row in PROVIDERS}
    assert given["cuda"]["gpu_mem_limit"] == given["rocm"]["gpu_mem_limit"] == str(2**31)
    assert given["tensorrt"]["trt_max_workspace_size"] == str(2**31)
    assert given["nvtensorrtrtx"]["nv_max_workspace_size"] == str(2**31)
    assert given["cpu"] == {}
    monkeypatch.delenv("FASTFACE_GPU_MEM_LIMIT")
    assert "gpu_mem_limit" not in provider_options(row_of_device("cuda"))


def test_device_words_and_providers_are_told_apart():
    assert len({row.device for row in PROVIDERS}) == len(PROVIDERS)
    assert len({row.provider for row in PROVIDERS}) == len(PROVIDERS)


@pytest.mark.parametrize(
    ("runtime", "installed", "devices"),
    [
        (runtime_with(), (), ()),
        (runtime_with("AzureExecutionProvider", CPU), (), ("cpu",)),
        (runtime_with(TENSORRT, CUDA, CPU), (), ("cuda", "tensorrt", "cpu")),
        (runtime_with(CPU, plugins=(RTX,)), (), ("nvtensorrtrtx", "cpu")),
        (runtime_with(CPU), ("onnxruntime_ep_nv_tensorrt_rtx",), ("nvtensorrtrtx", "cpu")),
        (runtime_with(CPU, plugins=None), ("onnxruntime_ep_nv_tensorrt_rtx",), ("cpu",)),
        (runtime_with("DmlExecutionProvider", CPU), (), ("directml", "cpu")),
    ],
)
def test_available_devices_are_those_the_runtime_lists(runtime, installed, devices):
    assert available_devices(runtime, installed=installed.__contains__) == devices


@pytest.mark.parametrize(
    ("device", "word", "index", "name"),
    [
        ("cpu", "cpu", 0, "cpu"),
        ("cpu:0", "cpu", 0, "cpu"),
        ("cuda", "cuda", 0, "cuda:0"),
        ("cuda:1", "cuda", 1, "cuda:1"),
        ("directml:12", "directml", 12, "directml:12"),
    ],
)
def test_parse_device(device, word, index, name):
    row, found = parse_device(device)
    assert (row.device, found, device_name(row, found)) == (word, index, name)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("", "expected one of cuda, tensorrt"),
        ("gpu", "got device 'gpu', expected one of"),
        ("CUDA", "got device 'CUDA'"),
        ("cuda:", "'cuda:0'"),
        ("cuda:one", "got device 'cuda:one'"),
        ("cuda:-1", "got device 'cuda:-1'"),
        ("cpu:1", "there is only one: use 'cpu'"),
    ],
)
def test_parse_device_refuses(device, said):
    with pytest.raises(InvalidInput, match=said):
        parse_device(device)


@pytest.mark.parametrize(
    ("device", "strict", "listed", "tries"),
    [
        ("cuda", False, set(), []),
        ("cuda", False, {CPU}, [("cpu", False)]),
        ("cuda", False, {CUDA, CPU}, [("cuda", False), ("cpu", False)]),
        ("cuda", True, {CUDA, CPU}, [("cuda", True), ("cuda", False)]),
        ("cuda", True, {CPU}, []),
        ("cpu", False, {CUDA, CPU}, [("cpu", False)]),
        ("cpu", True, {CUDA, CPU}, [("cpu", True)]),
        (
            "tensorrt",
            False,
            {TENSORRT, CUDA, CPU},
            [("tensorrt", False), ("cuda", False), ("cpu", False)],
        ),
    ],
)
def test_attempts(device, strict, listed, tries):
    found = attempts(row_of_device(device), strict, frozenset(listed))
    assert [(row.device, as_strict) for row, as_strict in found] == tries


@pytest.mark.parametrize(
    ("device", "strict", "listed", "providers"),
    [
        ("cpu", False, {CPU}, [CPU]),
        ("cpu", True, {CPU}, [CPU]),
        ("cuda", False, {CUDA, CPU}, [CUDA, CPU]),
        ("cuda", True, {CUDA, CPU}, [CUDA]),
        ("tensorrt", False, {TENSORRT, CUDA, CPU}, [TENSORRT, CUDA, CPU]),
        ("tensorrt", True, {TENSORRT, CUDA, CPU}, [TENSORRT, CUDA]),
        ("tensorrt", False, {TENSORRT, CPU}, [TENSORRT, CPU]),
    ],
)
def test_a_strict_request_never_lists_the_cpu(device, strict, listed, providers):
    asked, config = session_request(row_of_device(device), 0, strict, frozenset(listed))
    assert [name for name, _ in asked] == providers
    # The runtime refuses the entry beside a listed CPU.
    assert (config.get(NO_CPU_FALLBACK) == "1") == (CPU not in providers)


def test_options_name_the_device_and_the_cache():
    cuda, tensorrt = row_of_device("cuda"), row_of_device("tensorrt")
    assert provider_options(row_of_device("cpu")) == {}
    assert provider_options(cuda, 1)["device_id"] == "1"
    assert provider_options(cuda)["use_tf32"] == "0"
    assert "trt_engine_cache_path" not in provider_options(tensorrt)
    cached = provider_options(tensorrt, 0, Path("a/b"))
    assert cached["trt_engine_cache_enable"] == "1"
    assert cached["trt_timing_cache_enable"] == "1"
    for name in ("trt_engine_cache_path", "trt_timing_cache_path"):
        assert Path(cached[name]) == Path("a/b")
    kernels = provider_options(row_of_device("nvtensorrtrtx"), 0, Path("a/b"))
    assert Path(kernels["nv_runtime_cache_path"]) == Path("a/b")


def test_listed_providers_joins_built_in_ones_and_plugins():
    assert listed_providers(runtime_with(CPU, plugins=(RTX,))) == {CPU, RTX}
    assert listed_providers(runtime_with(CPU, plugins=None)) == {CPU}
