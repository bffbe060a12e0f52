"""What callers of ONNX Runtime write for providers, understood in whatever form it comes."""

from __future__ import annotations

from typing import Any

import pytest

from fastface.backends.providers.request import devices_of_providers

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("providers", "devices"),
    [
        (None, ()),
        ([], ()),
        ((), ()),
        ([CPU], ("cpu",)),
        (CPU, ("cpu",)),
        ([CUDA, CPU], ("cuda:0", "cpu")),
        ((CUDA, CPU), ("cuda:0", "cpu")),
        ([(CUDA, {"device_id": 1})], ("cuda:1",)),
        ([(CUDA, {"device_id": "1"}), CPU], ("cuda:1", "cpu")),
        ([[CUDA, {"device_id": 2}]], ("cuda:2",)),
        ([(CUDA, {})], ("cuda:0",)),
        ([(CUDA,)], ("cuda:0",)),
        ([(CUDA, None)], ("cuda:0",)),
        ([(CUDA, {"device_id": ""})], ("cuda:0",)),
        ([(CUDA, {"device_id": None})], ("cuda:0",)),
        ([(CPU, {"device_id": 3})], ("cpu",)),
        (["cudaexecutionprovider", "CPUEXECUTIONPROVIDER"], ("cuda:0", "cpu")),
        ([" CUDAExecutionProvider "], ("cuda:0",)),
        (["cuda"], ("cuda:0",)),
        (["CUDA", "CPU"], ("cuda:0", "cpu")),
        # What the loaders of several packs make of their choice `DirectML`.
        (["DirectMLExecutionProvider"], ("directml:0",)),
        (["DmlExecutionProvider"], ("directml:0",)),
        (["ROCMExecutionProvider"], ("rocm:0",)),
        (["CoreMLExecutionProvider"], ("coreml",)),
        (["TensorrtExecutionProvider", CUDA, CPU], ("tensorrt:0", "cuda:0", "cpu")),
        # What `onnxruntime.get_available_providers()` gives on any machine.
        (["AzureExecutionProvider", CPU], ("cpu",)),
        ([CUDA, CUDA], ("cuda:0",)),
    ],
)
def test_what_is_understood(providers: Any, devices: tuple[str, ...]):
    assert devices_of_providers(providers) == (devices, ())


@pytest.mark.parametrize(
    ("providers", "devices", "odd"),
    [
        (["X"], (), "'X' is no execution provider"),
        ([("X",)], (), "('X',) is no execution provider"),
        ([("X", {}), CPU], ("cpu",), "('X', {}) is no execution provider"),
        ([None], (), "None is no execution provider"),
        ([None, CPU], ("cpu",), "None is no execution provider"),
        ([()], (), "() is no execution provider"),
        ([7], (), "7 is no execution provider"),
        ([{"device_id": 0}], (), "{'device_id': 0} is no execution provider"),
        (7, (), "7 is no execution provider"),
        ([(CUDA, {"device_id": "x"})], ("cuda:0",), "got device_id 'x', expected a whole number"),
        ([(CUDA, {"device_id": -1})], ("cuda:0",), "got device_id -1"),
        ([(CUDA, {"device_id": 1.5})], ("cuda:0",), "got device_id 1.5"),
        ([(CUDA, 1)], ("cuda:0",), "got options 1, expected a dictionary"),
    ],
)
def test_what_is_not_is_told(providers: Any, devices: tuple[str, ...], odd: str):
    found, told = devices_of_providers(providers)
    assert found == devices and len(told) == 1 and odd in told[0]


def test_options_beside_the_names():
    """As InferenceSession takes them: one dictionary for each provider."""
    assert devices_of_providers([CUDA, CPU], [{"device_id": 1}, {}]) == (("cuda:1", "cpu"), ())
    assert devices_of_providers([CUDA, CPU], [{"device_id": 1}]) == (("cuda:1", "cpu"), ())
    assert devices_of_providers([(CUDA, {"device_id": 2})], [{"device_id": 1}])[0] == ("cuda:2",)
    assert devices_of_providers(None, [{"device_id": 1}]) == ((), ())
