"""Packs with random weights, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastface.backends.graphs.stand_ins import make_stand_in_pack


@pytest.fixture(scope="session")
def stand_in_packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the stand-ins for buffalo_s and antelopev2."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("stand-ins")
    return {name: make_stand_in_pack(name, folder) for name in ("buffalo_s", "antelopev2")}
