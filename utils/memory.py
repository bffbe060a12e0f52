"""How much memory there is, how much of it is ours, and how to give some back."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch

_CGROUPS = Path("/sys/fs/cgroup")


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
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds without using it is free for us too.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def return_memory() -> None:
    """Hands what nobody uses any more back to the system: objects, CUDA's cache, malloc's pools."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
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
