"""Loads the pack under the name `fastface`, whatever its folder is called, as ComfyUI does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

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
