"""What processor this is, what it computes natively, and how many of its cores may be used."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

import torch

from .precision import Precision

#: Instructions that multiply and add in a precision, one of which is enough; by the names that
#: torch and Linux share.
_NATIVE: dict[Precision, tuple[str, ...]] = {
    "bf16": ("avx512_bf16", "amx_bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8"),
}


def is_x86() -> bool:
    """Whether it is an x86 processor of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64")


@cache
def cpu_features() -> frozenset[str]:
    """Instructions of this processor, such as `avx2` and `avx512_vnni`; empty where unknown."""
    known = getattr(torch.cpu, "get_capabilities", None)  # since torch 2.10
    if known is not None:
        return frozenset(name for name, value in known().items() if value is True)
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(flags[1].split()) if flags else frozenset()


def why_not_native(precision: Precision) -> str | None:
    """Why this processor does not compute in `bf16` or `int8` by itself; None where it does."""
    wanted = _NATIVE[precision]
    if cpu_features().intersection(wanted):
        return None
    return f"this processor has no instructions for {precision} ({', '.join(wanted)})"


def usable_cores() -> int:
    """Physical cores this process may run on; 0 where that is unknown.

    Left to themselves runtimes take every core of the machine; some pin a thread to each, where it
    stays when other programs use that core, and where a container may not even run.
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    usable = os.sched_getaffinity(0)
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(siblings.format(cpu)).read_text() for cpu in usable})
    except OSError:
        return len(usable)
