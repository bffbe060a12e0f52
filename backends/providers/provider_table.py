"""ONNX Runtime's execution providers as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from ...utils.devices import Device, DeviceWord
from ...utils.errors import InvalidInput
from ...utils.precision import Precision

CPU = "CPUExecutionProvider"


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
        indexed: Whether there may be several, distinguished by `device_id`.
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
        any_size: Whether inputs of ever new sizes are as good to it as those of one: it compiles
            nothing for a size.
        memory_pattern: Whether the runtime may plan memory ahead.
        precisions: Precisions offered, the default first.
    """

    device: DeviceWord
    provider: str
    distribution: str = "onnxruntime"
    options: Mapping[str, str] = field(default_factory=dict)
    limit_option: str = ""
    cache_options: Mapping[str, str] = field(default_factory=dict)
    indexed: bool = False
    binds_on: str | None = None
    helpers: tuple[DeviceWord, ...] = ()
    system: str = ""
    library: str = ""
    libraries_from: tuple[str, ...] = ()
    companion: str = ""
    plugin: str = ""
    nvidia: bool = False
    any_size: bool = False
    memory_pattern: bool = True
    precisions: tuple[Precision, ...] = ("fp32",)


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
        any_size=True,
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
    ProviderRow(device="cpu", provider=CPU, any_size=True),
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
    word = cast(DeviceWord, provider.removesuffix("ExecutionProvider").lower())
    return next(known, ProviderRow(word, provider))


def parse_device(device: str) -> tuple[ProviderRow, int]:
    """Splits `cuda:1` into its row and index; no index means 0.

    Raises:
        InvalidInput: The word is unknown, the index is no number, or the device has none.
    """
    asked = Device.parse(device)
    row = row_of_device(asked.word)
    if asked.number and not row.indexed:
        raise InvalidInput(f"got device {device!r}, but there is only one: use {asked.word!r}")
    return row, asked.number


def device_name(row: ProviderRow, index: int) -> str:
    """The device as users would type it, index included: `cuda:0`, `cpu`."""
    return f"{row.device}:{index}" if row.indexed else row.device
