"""ONNX Runtime's execution providers as data, and what is asked of the runtime for each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from ...utils.errors import InvalidInput
from ...utils.settings import settings

CPU = "CPUExecutionProvider"

#: The runtime refuses to create a session that would leave a node to the CPU.
NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
#: The runtime remembers which provider took which node (1.24 and newer; older ones ignore it).
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True)
class ProviderRow:
    """One execution provider.

    Attributes:
        device: The word users type.
        provider: ONNX Runtime's name for it.
        distribution: The pip distribution that brings it.
        options: Provider options it is always given.
        limit_option: Option that takes the most bytes of GPU memory, its arena's or its builder's.
        cache_options: Options that take the folder for compiled engines; `{}` stands for it.
        indexed: Whether there may be several, told apart by `device_id`.
        binds_on: The torch device type whose tensors it reads and writes in place; None when
            tensors go through host memory.
        helpers: Devices on the same hardware that take what this one leaves, best first.
        system: `platform.system()` it is confined to; empty for no such limit.
        library: Name of the shared library it lives in, when that is loaded only on demand.
        libraries_from: What pip installs to bring the libraries that one needs.
        companion: Python module to import first where it is installed, because doing so loads
            libraries the provider links.
        plugin: Python module of the plugin package that the provider comes in.
        nvidia: Whether it needs NVIDIA's driver.
        memory_pattern: Whether the runtime may plan memory ahead.
        precisions: Precisions offered, the default first.
    """

    device: str
    provider: str
    distribution: str = "onnxruntime"
    options: Mapping[str, str] = field(default_factory=dict)
    limit_option: str = ""
    cache_options: Mapping[str, str] = field(default_factory=dict)
    indexed: bool = False
    binds_on: str | None = None
    helpers: tuple[str, ...] = ()
    system: str = ""
    library: str = ""
    libraries_from: tuple[str, ...] = ()
    companion: str = ""
    plugin: str = ""
    nvidia: bool = False
    memory_pattern: bool = True
    precisions: tuple[str, ...] = ("fp32",)


_CUDA_OPTIONS = {
    # Doubling the arena takes up to twice the memory that is needed, from the card that ComfyUI
    # wants for its models.
    "arena_extend_strategy": "kSameAsRequested",
    # The default, EXHAUSTIVE, times every algorithm again for each new input size: seconds, and
    # consumers such as InstantID try many sizes.
    "cudnn_conv_algo_search": "HEURISTIC",
    # TF32 keeps 10 bits of the mantissa: embeddings would differ from those of the CPU.
    "use_tf32": "0",
}

#: Every provider, best first: this is the order in which devices are offered. TensorRT comes after
#: CUDA because the GPU wheel always lists it, with its libraries or without.
PROVIDERS: tuple[ProviderRow, ...] = (
    ProviderRow(
        device="cuda",
        provider="CUDAExecutionProvider",
        distribution="onnxruntime-gpu",
        options=_CUDA_OPTIONS,
        limit_option="gpu_mem_limit",
        indexed=True,
        binds_on="cuda",
        library="onnxruntime_providers_cuda",
        libraries_from=("onnxruntime-gpu[cuda,cudnn]",),
        nvidia=True,
    ),
    ProviderRow(
        device="tensorrt",
        provider="TensorrtExecutionProvider",
        distribution="onnxruntime-gpu",
        limit_option="trt_max_workspace_size",
        cache_options={
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "{}",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "{}",
        },
        indexed=True,
        binds_on="cuda",
        helpers=("cuda",),
        library="onnxruntime_providers_tensorrt",
        # The provider links libnvinfer.so.10, whatever newer TensorRT there is.
        libraries_from=("onnxruntime-gpu[cuda,cudnn]", "tensorrt<11"),
        companion="tensorrt",
        nvidia=True,
    ),
    ProviderRow(
        device="nvtensorrtrtx",
        provider="NvTensorRTRTXExecutionProvider",
        distribution="onnxruntime-ep-nv-tensorrt-rtx",
        limit_option="nv_max_workspace_size",
        cache_options={"nv_runtime_cache_path": "{}"},
        indexed=True,
        binds_on="cuda",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        nvidia=True,
    ),
    # Torch's ROCm tensors could be bound as well, but no release documents the device they would
    # have to be bound as, and a wrong one ends the process: they go through host memory.
    ProviderRow(
        device="migraphx",
        provider="MIGraphXExecutionProvider",
        distribution="onnxruntime-migraphx",
        indexed=True,
    ),
    ProviderRow(
        device="rocm",
        provider="ROCMExecutionProvider",
        distribution="onnxruntime-rocm",
        limit_option="gpu_mem_limit",
        indexed=True,
        system="Linux",
    ),
    ProviderRow(
        device="directml",
        provider="DmlExecutionProvider",
        distribution="onnxruntime-directml",
        indexed=True,
        system="Windows",
        # DirectML refuses sessions with memory planning.
        memory_pattern=False,
    ),
    ProviderRow(
        device="coreml",
        provider="CoreMLExecutionProvider",
        # The older NeuralNetwork format computes in fp16; an ML program keeps the graph's fp32.
        options={"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"},
        cache_options={"ModelCacheDirectory": "{}"},
        system="Darwin",
    ),
    ProviderRow(
        device="openvino",
        provider="OpenVINOExecutionProvider",
        distribution="onnxruntime-openvino",
        # AUTO accepts a session and then takes none of its nodes where it likes no device. Without
        # FP32 newer processors compute in bf16.
        options={"device_type": "CPU", "precision": "FP32"},
        cache_options={"cache_dir": "{}"},
    ),
    ProviderRow(device="cpu", provider=CPU),
)


def row_of_device(device: str) -> ProviderRow:
    """The row of a device word without an index.

    Raises:
        InvalidInput: There is none.
    """
    for row in PROVIDERS:
        if row.device == device:
            return row
    known = ", ".join(row.device for row in PROVIDERS)
    raise InvalidInput(f"got device {device!r}, expected one of {known}")


def row_of_provider(provider: str) -> ProviderRow:
    """The row of a provider; one made up for a provider the table doesn't know."""
    known = (row for row in PROVIDERS if row.provider == provider)
    return next(known, ProviderRow(provider.removesuffix("ExecutionProvider").lower(), provider))


def parse_device(device: str) -> tuple[ProviderRow, int]:
    """Splits `cuda:1` into its row and index; no index means 0.

    Raises:
        InvalidInput: The word is unknown, the index is no number, or the device has none.
    """
    word, colon, number = device.partition(":")
    row = row_of_device(word)
    if colon and not number.isdecimal():
        raise InvalidInput(f"got device {device!r}, expected {word!r} or an index as in '{word}:0'")
    index = int(number or 0)
    if index and not row.indexed:
        raise InvalidInput(f"got device {device!r}, but there is only one: use {word!r}")
    return row, index


def device_name(row: ProviderRow, index: int) -> str:
    """The device as users would type it, index included: `cuda:0`, `cpu`."""
    return f"{row.device}:{index}" if row.indexed else row.device


def listed_providers(runtime: ModuleType) -> frozenset[str]:
    """Providers the runtime knows, built in or as a registered plugin; knowing is no promise."""
    plugins = runtime.get_ep_devices() if hasattr(runtime, "get_ep_devices") else ()
    return frozenset(runtime.get_available_providers()) | {device.ep_name for device in plugins}


def has_module(name: str) -> bool:
    """Whether a Python module is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


def available_devices(
    runtime: ModuleType, installed: Callable[[str], bool] = has_module
) -> tuple[str, ...]:
    """Devices that may be asked for, best first.

    Args:
        runtime: The onnxruntime module.
        installed: Tells whether a plugin's module is there. Plugins are only registered when they
            are asked for: loading one costs a second and hundreds of megabytes.
    """
    listed = listed_providers(runtime)
    takes_plugins = hasattr(runtime, "register_execution_provider_library")
    return tuple(
        row.device
        for row in PROVIDERS
        if row.provider in listed or (row.plugin and takes_plugins and installed(row.plugin))
    )


def provider_options(
    row: ProviderRow, index: int = 0, cache_folder: Path | None = None
) -> dict[str, str]:
    """Options a provider is created with, the settings' limit of GPU memory among them.

    Args:
        index: Which of several such devices.
        cache_folder: Where compiled engines are kept; None keeps none.
    """
    options = dict(row.options)
    if row.indexed:
        options["device_id"] = str(index)
    limit = settings().gpu_mem_limit
    if limit and row.limit_option:
        options[row.limit_option] = str(int(limit))
    if cache_folder is not None:
        cached = row.cache_options.items()
        options |= {name: value.format(cache_folder) for name, value in cached}
    return options


def session_request(
    row: ProviderRow,
    index: int,
    strict: bool,
    listed: frozenset[str],
    cache_folder: Path | None = None,
) -> tuple[list[tuple[str, dict[str, str]]], dict[str, str]]:
    """What to ask the runtime for.

    Args:
        listed: What the runtime knows; it prints complaints about any other provider.

    Returns:
        Providers with their options, in order of preference, and session config entries. A strict
        request doesn't list the CPU: the runtime refuses the two together.
    """
    if row.provider == CPU:
        return [(CPU, {})], {RECORD_ASSIGNMENT: "1"}
    helpers = [helper for helper in map(row_of_device, row.helpers) if helper.provider in listed]
    providers = [
        (entry.provider, provider_options(entry, index, cache_folder)) for entry in (row, *helpers)
    ]
    if strict:
        return providers, {RECORD_ASSIGNMENT: "1", NO_CPU_FALLBACK: "1"}
    return [*providers, (CPU, {})], {RECORD_ASSIGNMENT: "1"}


def attempts(
    row: ProviderRow, strict: bool, listed: frozenset[str]
) -> tuple[tuple[ProviderRow, bool], ...]:
    """Sessions to try until one opens: provider, and whether the request is strict.

    A strict request is refused for a single node on the CPU, those that compute shapes included,
    which the runtime never leaves on a GPU. The relaxed one that follows it serves to judge nodes
    one by one.
    """
    if row.provider == CPU:
        return ((row, strict),)
    if strict:
        tries = [(row, True), (row, False)]
    else:
        tries = [(entry, False) for entry in (row, *map(row_of_device, (*row.helpers, "cpu")))]
    return tuple((entry, as_strict) for entry, as_strict in tries if entry.provider in listed)
