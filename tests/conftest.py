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

    Each has the threads of torch and of the engines, so that more would only wait for each other.
    0 is one process with none beside it.
    """
    from fastface.utils.cores import usable_cores

    cores = usable_cores() or os.cpu_count() or 1
    room = psutil.virtual_memory().available // _PROCESS_BYTES
    processes = min(cores, max(2, cores // 2), room)
    return processes if processes > 1 else 0
