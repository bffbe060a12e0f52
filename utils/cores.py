"""What processor this is, and how many of its cores this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def is_x86() -> bool:
    """Whether it is an x86 processor of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64")


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
