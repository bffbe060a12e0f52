"""How much memory there is, as a container allows it; and when a library says that it ran out."""

from __future__ import annotations

import errno
from pathlib import Path

import psutil
import pytest
import torch

from fastface.utils import free_memory
from fastface.utils.errors import ModelError, OutOfMemory

GB = 2**30


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def member_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def test_no_groups_no_limit(tmp_path: Path) -> None:
    assert free_memory._left_in_cgroups(tmp_path, tmp_path / "missing") == []
    assert free_memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == []


def test_a_container_of_version_2(tmp_path: Path) -> None:
    write(tmp_path, memory__max=4 * GB, memory__current=3 * GB)
    write(tmp_path, memory__stat=f"anon 5\ninactive_file {GB}")
    assert free_memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == [2 * GB]


def test_a_group_may_be_limited_by_those_above_it(tmp_path: Path) -> None:
    write(tmp_path / "user" / "session", memory__max="max", memory__current=GB)
    write(tmp_path / "user", memory__max=2 * GB, memory__current=GB)
    left = free_memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/user/session\n"))
    assert left == [GB]


def test_a_container_of_version_1(tmp_path: Path) -> None:
    """Which is told a path of its host that it does not see itself."""
    text = "5:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n"
    write(tmp_path / "memory", memory__limit_in_bytes=2 * GB, memory__usage_in_bytes=GB)
    write(tmp_path / "memory", memory__stat=f"cache 1\ntotal_inactive_file {GB // 2}")
    write(tmp_path / "cpu", memory__limit_in_bytes=1, memory__usage_in_bytes=0)
    left = free_memory._left_in_cgroups(tmp_path, member_of(tmp_path, text))
    assert left == [GB + GB // 2]


def test_more_than_the_limit_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, memory__max=GB, memory__current=2 * GB)
    assert free_memory._left_in_cgroups(tmp_path, member_of(tmp_path, "0::/\n")) == [0]


def test_the_tightest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = psutil.virtual_memory().total
    monkeypatch.setattr(free_memory, "_left_in_cgroups", lambda: [2**62])
    assert 0 < free_memory.free_ram() <= machine
    monkeypatch.setattr(free_memory, "_left_in_cgroups", lambda: [5, 7])
    assert free_memory.free_ram() == 5


def test_memory_is_returned() -> None:
    # What earlier tests left free would be taken without asking for more.
    free_memory.return_memory()
    before = free_memory.resident_bytes()
    blocks = [bytearray(1000) for _ in range(100_000)]
    assert free_memory.resident_bytes() > before + 50e6
    kept = blocks[::1000]  # holes between them: without a trim malloc keeps what lies below
    del blocks
    free_memory.return_memory()
    assert free_memory.resident_bytes() < before + 30e6 and kept


class WindowsError(OSError):
    winerror = 1455


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 75.0 MiB for an array with shape (4, 3, 1280, 1280)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OutOfMemory("no room"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        WindowsError("The paging file is too small for this operation to complete"),
    ],
)
def test_errors_that_are_about_memory(error: Exception) -> None:
    assert free_memory.is_out_of_memory(error)


#: As the libraries wrote them, on this kind of machine or in reports of others.
SAID_OF_SHORTAGE = {
    "torch": "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 78643200 bytes. Error code 12 (Cannot allocate memory)",
    "torch on Windows": "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough "
    "memory: you tried to allocate 78643200 bytes.",
    "oneDNN": "could not create a primitive",
    "cuBLAS": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "MPS": "MPS backend out of memory (MPS allocated: 17.92 GB)",
    "onnxruntime": "Non-zero status code returned while running Conv node. Name:'273_nchwc' Status "
    "Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to "
    "allocate memory for requested buffer of size 104857600",
    "onnxruntime's limit": "Available memory of 0 is smaller than requested bytes of 1024",
    "C++": "std::bad_alloc",
    "C++ on Windows": "bad allocation",
    "DirectML": "80070008 Not enough memory resources are available to process this command.",
    "openvino": "Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\nFailed to "
    "allocate 39321600 bytes of memory\n",
    "openvino's node": "[CPU] Convolution node with name 'Conv_166/WithoutBiases' can't alloc",
    "openvino on a GPU": "clEnqueueNDRangeKernel, error code: -5 CL_OUT_OF_RESOURCES",
    "opencv": "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate "
    "50331648 bytes in function 'OutOfMemoryError'\n",
    "tensorrt": "[E] Error Code 2: OutOfMemory (Requested size was 1024 bytes.)",
}


@pytest.mark.parametrize("library", SAID_OF_SHORTAGE)
def test_what_libraries_say_when_memory_is_short(library: str) -> None:
    assert free_memory.is_out_of_memory(RuntimeError(SAID_OF_SHORTAGE[library]))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("could not create a primitive descriptor for a convolution"),
        RuntimeError("Sizes of tensors must match except in dimension 1"),
        RuntimeError("can't start new thread"),
        ValueError("memory_format must be one of"),
        ModelError("std::bad_alloc; the file is damaged"),
        FileNotFoundError(errno.ENOENT, "no such file: out of memory.onnx"),
    ],
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not free_memory.is_out_of_memory(error)
