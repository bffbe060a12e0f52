"""Looks at this machine for what execution providers need: libraries, plugins, a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import io
import logging
import platform
from pathlib import Path
from types import ModuleType

from ...utils.devices import DeviceWord
from ...utils.modules import has_module
from ...utils.telemetry import decline_events
from .check import Circumstances, installed_distributions
from .provider_table import ProviderRow, row_of_device
from .request import available_devices, listed_providers

_log = logging.getLogger("FastFace")

#: What importing a module of shared libraries may raise.
_LOADING_ERRORS = (ImportError, OSError, AttributeError, RuntimeError)
_CUDA_SUCCESS, _CUDA_NO_DEVICE = 0, 100
_NVIDIA_DRIVER = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"


def runtime_errors(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """Everything the runtime raises: its own errors have no common base but Exception."""
    own = vars(runtime.capi.onnxruntime_pybind11_state).values()
    kinds = (kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception))
    return (RuntimeError, ValueError, MemoryError, *kinds)


@functools.cache
def preload_cuda(runtime: ModuleType) -> str:
    """Loads the CUDA libraries that torch brought, so that the runtime finds them; once.

    Returns:
        What went wrong, a line a library; empty when nothing did.
    """
    if not hasattr(runtime, "preload_dlls"):
        return ""
    said = io.StringIO()
    # It prints what it can't load instead of raising.
    with contextlib.redirect_stdout(said):
        try:
            runtime.preload_dlls()
        except (OSError, RuntimeError) as error:
            said.write(f"Failed to load CUDA: {error}")
    _log.debug("onnxruntime.preload_dlls said: %s", said.getvalue().strip() or "nothing")
    return "\n".join(line for line in said.getvalue().splitlines() if line.startswith("Failed"))


def prepare(runtime: ModuleType, row: ProviderRow) -> str:
    """Loads what a provider needs before its first session.

    Returns:
        Why its plugin did not load; empty when it did or there is none. Libraries that do not load
        are no failure yet: the provider may not need them.
    """
    decline_events(runtime)
    if row.nvidia:
        preload_cuda(runtime)
    if row.companion and has_module(row.companion):
        try:
            importlib.import_module(row.companion)
        except _LOADING_ERRORS as error:
            _log.debug("import of %s before %s: %s", row.companion, row.provider, error)
    if not row.plugin or row.provider in listed_providers(runtime) or not has_module(row.plugin):
        return ""
    if not hasattr(runtime, "register_execution_provider_library"):
        return "this onnxruntime is too old for plugins; update it to 1.24 or newer"
    try:
        plugin = importlib.import_module(row.plugin)
        runtime.register_execution_provider_library(row.provider, plugin.get_library_path())
    except (*_LOADING_ERRORS, *runtime_errors(runtime)) as error:
        return str(error)
    return ""


def missing_library(runtime: ModuleType, row: ProviderRow) -> str:
    """Why the shared library of a provider does not load; empty when only the driver is missing."""
    if not row.library or not runtime.__file__:
        return ""
    folder = Path(runtime.__file__).parent / "capi"
    pattern = "{}.dll" if platform.system() == "Windows" else "lib{}.so"
    library = folder / pattern.format(row.library)
    bridge = folder / pattern.format("onnxruntime_providers_shared")
    try:
        # The runtime loads them in this way: providers find the symbols of the bridge globally.
        ctypes.CDLL(str(bridge), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        if str(error).startswith(_NVIDIA_DRIVER):
            return ""
        # The loader stops at the first library it misses; preloading tried all.
        more = [line for line in preload_cuda(runtime).splitlines() if str(error) not in line]
        return "; ".join([str(error), *more])
    return ""


def missing_gpu(index: int) -> str:
    """Why NVIDIA's driver offers no GPU of this index; empty when it does. Makes no context."""
    try:
        driver = ctypes.CDLL(_NVIDIA_DRIVER)
    except OSError:
        return (
            f"there is no NVIDIA driver ({_NVIDIA_DRIVER} does not load): install it, or choose "
            "device cpu on a machine without an NVIDIA GPU"
        )
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status == _CUDA_SUCCESS:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status not in (_CUDA_SUCCESS, _CUDA_NO_DEVICE):
        return f"NVIDIA's driver does not start (CUDA error {status}): see what nvidia-smi says"
    if index >= count.value:
        return f"NVIDIA's driver sees {count.value} GPUs, and index {index} was asked for"
    return ""


def usable_devices(runtime: ModuleType) -> tuple[DeviceWord, ...]:
    """Devices that may be asked for with a hope of getting them, best first.

    The GPU wheel lists NVIDIA's providers on every machine; without a GPU they are left out.
    """
    no_gpu = bool(missing_gpu(0))
    devices = available_devices(runtime)
    return tuple(word for word in devices if not (no_gpu and row_of_device(word).nvidia))


def circumstances(
    runtime: ModuleType, row: ProviderRow, index: int, failure: str = ""
) -> Circumstances:
    """What this machine says about a provider that was asked for.

    Args:
        failure: What the runtime said when it was tried.
    """
    return Circumstances(
        listed=listed_providers(runtime),
        distributions=installed_distributions(),
        system=platform.system(),
        failure=failure,
        missing_library=missing_library(runtime, row),
        missing_gpu=missing_gpu(index) if row.nvidia else "",
    )
