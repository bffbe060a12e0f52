"""Memory: how much there is, how to give some back, and what to do when it ran out.

Work is cut into pieces that should fit, `images_at_once` and `faces_at_once`, and tried again in
smaller ones when they don't, `run_with_oom_retry`.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from .errors import FastFaceError, OutOfMemory
from .settings import settings

_log = logging.getLogger("FastFace")

_CGROUPS = Path("/sys/fs/cgroup")

#: What libraries write, in lower case, when an allocation failed. None of them has an error type of
#: its own for that but torch on cards and numpy.
_SIGNS_OF_SHORTAGE = (
    "out of memory",  # CUDA, HIP, MPS, XPU
    "out_of_memory",  # CUDA_ERROR_OUT_OF_MEMORY
    "outofmemory",  # TensorRT's error code, E_OUTOFMEMORY of DirectML
    "out_of_resources",  # CL_OUT_OF_RESOURCES, UR_RESULT_ERROR_OUT_OF_RESOURCES
    "out_of_host_memory",
    "out_of_device_memory",
    "allocate memory",  # torch's DefaultCPUAllocator, errno 12
    "failed to allocate",  # ONNX Runtime's arena, OpenCV, OpenVINO
    "not enough memory",  # torch's DefaultCPUAllocator on Windows, DirectML
    "insufficient memory",  # OpenCV's code -4
    "unable to allocate",  # numpy
    "bad_alloc",  # C++ with GCC and Clang
    "bad allocation",  # C++ with MSVC
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED
    "allocation_failure",  # CL_MEM_OBJECT_ALLOCATION_FAILURE
    "smaller than requested bytes",  # ONNX Runtime's arena with a limit
    "max size of memory object allocation",  # OpenVINO on GPUs
    "can't alloc",  # OpenVINO: "Convolution node with name '...' can't alloc"
    "could not create a memory",  # oneDNN, inside torch
    # oneDNN again, when there is no room for a kernel's code: seen with a limited address space. Of
    # what it has no kernel for it says "could not create a primitive descriptor".
    "could not create a primitive\n",
    "could not execute a primitive\n",
)
_ERROR_COMMITMENT_LIMIT = 1455  # Windows: the paging file is too small

Result = TypeVar("Result")
Part = TypeVar("Part", bound="Divisible")


class Divisible(Protocol):
    """What can be cut into parts of itself."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


#: On the CPU larger batches are hardly faster, and whoever presses stop waits for the end of one:
#: so many images of this many pixels at a time, and of smaller ones as many more.
_MOST_ON_CPU = 4
_PIXELS_ON_CPU = 640 * 640
_MOST_ON_GPU = 64
#: Engines keep the memory of the largest batch: on two cores sixteen crops at a time, with half of
#: it, are as fast as thirty-two.
_MOST_FACES_ON_CPU = 16
_MOST_FACES_ON_GPU = 32

#: Memory that a detector takes for each pixel of its canvas while it runs, in bytes: measured on
#: SCRFD-10G in fp32, with room to spare.
_BYTES_A_PIXEL = 400
#: And for each pixel of the picture itself: three floats, scaled, and rounded to bytes.
_BYTES_A_SOURCE_PIXEL = 3 * (4 + 4 + 1)
#: Share of the free memory that may be planned with; others take some between now and then.
_PLANNED_SHARE = 0.5


def resident_bytes() -> int:
    """RAM that this process holds (its resident set size)."""
    import psutil

    return psutil.Process().memory_info().rss


def free_ram() -> int:
    """Bytes of RAM that can still be had, within the limits of the container if there are any."""
    import psutil

    # psutil tells of the machine, whatever part of it a container may use.
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


def free_vram(device: torch.device) -> int | None:
    """Bytes of a CUDA device's memory that torch or others can still have; None elsewhere."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds without using it is free for us too.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of this pack, torch, numpy, OpenCV or an engine is about too little memory.

    Other errors of this pack are not, whatever they quote.
    """
    if isinstance(error, FastFaceError):
        return isinstance(error, OutOfMemory)
    if isinstance(error, OSError):
        windows_code = getattr(error, "winerror", None)
        return error.errno == errno.ENOMEM or windows_code == _ERROR_COMMITMENT_LIMIT
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or speaks_of_shortage(str(error))


def speaks_of_shortage(text: str) -> bool:
    """Whether what a library says is that it could not allocate memory."""
    text = text.lower() + "\n"
    return any(sign in text for sign in _SIGNS_OF_SHORTAGE)


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Makes `OutOfMemory` of whatever a library raises inside when an allocation fails.

    On the CPU torch raises a plain RuntimeError, numpy a MemoryError, OpenCV its own `cv2.error`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"{type(error).__name__}: {str(error).strip()}; there is too little free memory for "
            "this: use smaller images, fewer at a time or a smaller det_size, or free memory by "
            "unloading models or closing other programs"
        ) from error


def images_at_once(device: torch.device, size_wh: tuple[int, int], image_pixels: int) -> int:
    """How many images a detector is given at a time.

    Args:
        device: Where it runs.
        size_wh: Its input size in pixels.
        image_pixels: Pixels of the largest image.
    """
    free = free_vram(device)
    if free is None:
        smaller = _PIXELS_ON_CPU // (size_wh[0] * size_wh[1])
        most = min(_MOST_ON_GPU, _MOST_ON_CPU * max(1, smaller))
        return min(most, settings().batch_size or most)
    planned = free * _PLANNED_SHARE
    if budget := settings().gpu_mem_limit:
        planned = min(planned, budget)
    each = size_wh[0] * size_wh[1] * _BYTES_A_PIXEL + image_pixels * _BYTES_A_SOURCE_PIXEL
    most = min(_MOST_ON_GPU, settings().batch_size or _MOST_ON_GPU)
    return max(1, min(most, int(planned / each)))


def faces_at_once(on_cpu: bool) -> int:
    """How many faces a network is given at a time, on the CPU or elsewhere."""
    most = _MOST_FACES_ON_CPU if on_cpu else _MOST_FACES_ON_GPU
    return min(most, settings().batch_size or most)


def run_with_oom_retry(batch: Part, run: Callable[[Part], Result]) -> list[Result]:
    """Runs a batch, of images or of faces; when memory runs out, in halves, down to single ones.

    Returns:
        The results of its parts, in their order; one when all fitted.

    Raises:
        OutOfMemory: Not even one fits.
    """
    try:
        with memory_errors_explained():
            return [run(batch)]
    except OutOfMemory:
        if len(batch) <= 1:
            raise
        half = len(batch) // 2
        _log.warning("out of memory with %d at once, going on with %d", len(batch), half)
    # Out of the handler: its traceback holds the tensors that are to be let go.
    return_memory()
    return run_with_oom_retry(batch[:half], run) + run_with_oom_retry(batch[half:], run)


def return_memory() -> None:
    """Hands what nobody uses any more back to the system: objects, CUDA's cache, malloc's pools."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Hands what malloc keeps of freed memory back to the system, where it is glibc's."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _c_library() -> Any:
    """glibc, or None where malloc is another's."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def _left_in_cgroups(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """What each control group that this process is in leaves it, in bytes; none without limits.

    Source:
        Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    left = []
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        own = root / controllers / path.lstrip("/")
        # In a container's own view its group is the root, whatever path it is told.
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                left += _left_in(folder, second_version=not controllers)
    return left


def _left_in(folder: Path, second_version: bool) -> list[int]:
    names = (
        ("memory.max", "memory.current", "inactive_file")
        if second_version
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    limit, used = (_text(folder / name).strip() for name in names[:2])
    if not limit.isdigit() or not used.isdigit():
        return []  # no limit ("max"), or no such group
    reclaimable = 0
    for line in _text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == names[2]:
            reclaimable = int(value)
    return [max(0, int(limit) - int(used) + reclaimable)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
