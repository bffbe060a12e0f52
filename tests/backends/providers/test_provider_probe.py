"""What is looked for on this machine before and after a provider is asked for."""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType, SimpleNamespace

import pytest

from fastface.backends.providers import provider_probe
from fastface.backends.providers.provider_table import CPU, row_of_device


@pytest.fixture
def runtime(tmp_path):
    """A runtime in a folder of its own, with no providers but the CPU's."""
    module = ModuleType("onnxruntime")
    (tmp_path / "capi").mkdir()
    module.__file__ = str(tmp_path / "__init__.py")
    module.capi = SimpleNamespace(onnxruntime_pybind11_state=SimpleNamespace(Fail=OwnError))
    module.get_available_providers = lambda: [CPU]
    return module


class OwnError(Exception):
    pass


def test_preloading_happens_once_and_its_prints_are_kept(runtime, capsys):
    calls = []

    def preload_dlls():
        calls.append(1)
        sys.stdout.write("Failed to load libcurand.so.10: not found\n")
        sys.stdout.write("Please follow the installation guide\n")

    assert provider_probe.preload_cuda(ModuleType("onnxruntime")) == ""
    runtime.preload_dlls = preload_dlls
    for _ in range(2):
        assert provider_probe.preload_cuda(runtime) == "Failed to load libcurand.so.10: not found"
    assert len(calls) == 1
    assert not capsys.readouterr().out


def test_a_runtime_whose_preloading_raises_is_no_obstacle(runtime):
    def preload_dlls():
        raise RuntimeError("Invalid parameter of directory")

    runtime.preload_dlls = preload_dlls
    assert "Invalid parameter of directory" in provider_probe.preload_cuda(runtime)


def test_a_provider_library_that_does_not_load_is_named(runtime, tmp_path):
    cuda = row_of_device("cuda")
    assert provider_probe.missing_library(runtime, row_of_device("cpu")) == ""
    assert "onnxruntime_providers_shared" in provider_probe.missing_library(runtime, cuda)


def test_a_library_that_only_lacks_the_driver_is_not_missing(runtime, monkeypatch):
    def no_driver(name, mode=0):
        raise OSError(f"{provider_probe._NVIDIA_DRIVER}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert provider_probe.missing_library(runtime, row_of_device("cuda")) == ""


@pytest.mark.parametrize(
    ("status", "count", "index", "said"),
    [
        (0, 0, 0, "sees 0 GPUs"),
        (100, 0, 0, "sees 0 GPUs"),
        (999, 0, 0, "CUDA error 999"),
        (0, 1, 0, ""),
        (0, 1, 1, "sees 1 GPUs, and index 1 was asked for"),
    ],
)
def test_the_driver_is_asked_for_gpus(monkeypatch, status, count, index, said):
    def get_count(pointer):
        pointer._obj.value = count
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: status, cuDeviceGetCount=get_count)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    found = provider_probe.missing_gpu(index)
    assert (said in found) if said else found == ""


def test_no_driver_is_said_with_what_to_do(monkeypatch):
    def none(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert "there is no NVIDIA driver" in provider_probe.missing_gpu(0)
    assert "device cpu" in provider_probe.missing_gpu(0)


@pytest.mark.parametrize(
    ("registers", "said"),
    [
        (None, "too old for plugins"),
        (OwnError("libcuda.so.1: cannot open"), "libcuda.so.1: cannot open"),
        (RuntimeError("no such file"), "no such file"),
        ("fine", ""),
    ],
)
def test_a_plugin_is_registered_or_its_failure_told(runtime, monkeypatch, registers, said):
    row = row_of_device("nvtensorrtrtx")
    monkeypatch.setattr(provider_probe, "has_module", lambda name: False)
    assert provider_probe.prepare(runtime, row) == ""
    registered = []

    def register(name, path):
        if isinstance(registers, Exception):
            raise registers
        registered.append((name, path))

    if registers is not None:
        runtime.register_execution_provider_library = register
    plugin = ModuleType(row.plugin)
    plugin.get_library_path = lambda: "library"
    monkeypatch.setitem(sys.modules, row.plugin, plugin)
    monkeypatch.setattr(provider_probe, "has_module", lambda name: name == row.plugin)
    found = provider_probe.prepare(runtime, row)
    assert (said in found) if said else found == ""
    assert registered == ([(row.provider, "library")] if registers == "fine" else [])


def test_the_errors_of_the_runtime_are_its_own_and_pythons(runtime):
    assert {OwnError, RuntimeError, MemoryError} <= set(provider_probe.runtime_errors(runtime))
