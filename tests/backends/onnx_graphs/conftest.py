"""Packs with random weights, made once for all tests."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastface.backends.onnx_graphs import graph_cache
from fastface.benchmark.synthetic_models.packs import make_stand_in_pack
from fastface.utils import host


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(host, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither the cache folder nor that of temporary files takes a file."""

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(graph_cache, "replacing", full)
        yield


@pytest.fixture(scope="session")
def stand_in_packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the stand-ins for buffalo_s and antelopev2."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("stand-ins")
    return {name: make_stand_in_pack(name, folder) for name in ("buffalo_s", "antelopev2")}
