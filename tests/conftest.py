"""Loads the pack under the name `fastface`, whatever its folder is called, as ComfyUI does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from install import import_pack

# What the tests make must not lie in the caches of whoever runs them, nor be found there.
_cache = tempfile.TemporaryDirectory(prefix="fastface-tests-")
os.environ["XDG_CACHE_HOME"] = os.environ["LOCALAPPDATA"] = _cache.name


def _take_share_of_cores() -> None:
    """Gives each of pytest-xdist's processes cores of its own, where the system can.

    Else every process starts a thread for each core, and they wait for each other: 1.6 times as
    long with two processes on two cores.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not worker.isdecimal() or not hasattr(os, "sched_setaffinity"):
        return
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    if share := sorted(os.sched_getaffinity(0))[int(worker) :: count]:
        os.sched_setaffinity(0, share)


_take_share_of_cores()  # before torch and the engines count them
import_pack("fastface")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `models/` and `images/`, named by FASTFACE_TEST_DATA; see CONTRIBUTING.md."""
    folder = os.environ.get("FASTFACE_TEST_DATA")
    if not folder:
        pytest.skip("FASTFACE_TEST_DATA names no folder with real weights and photos")
    path = Path(folder).resolve()
    if not (path / "models").is_dir():
        pytest.fail(f"FASTFACE_TEST_DATA is {folder!r}, but {path / 'models'} is no folder")
    return path


#: What one process of tests holds at most, in bytes: torch, three engines and their networks.
_PROCESS_BYTES = 3 * 2**30


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of tests beside each other with `-n auto`: one for two cores, as memory allows.

    Each has torch, the engines and their threads. 0 is one process with none beside it.
    """
    from fastface.utils.cores import usable_cores

    cores = usable_cores() or os.cpu_count() or 1
    room = psutil.virtual_memory().available // _PROCESS_BYTES
    processes = min(cores, max(2, cores // 2), room)
    return processes if processes > 1 else 0
