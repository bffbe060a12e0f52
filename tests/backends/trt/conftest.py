"""Fixtures for engines: a folder for them, a pack, and the library that builds without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.backends.trt.engines import EngineStore
from fastface.backends.trt.library import Library, choose_library
from fastface.utils import host
from fastface.utils.packs import ModelPack
from tests.backends.trt.on_stub import small_pack


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


@pytest.fixture
def pack(tmp_path: Path) -> ModelPack:
    pytest.importorskip("onnx")
    return small_pack(tmp_path / "small")


@pytest.fixture
def rtx() -> Library:
    """The real `tensorrt_rtx`, building for no card in particular."""
    pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt_rtx, which builds without a GPU, is absent"
    )
    return choose_library(None)
