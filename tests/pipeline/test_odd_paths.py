"""Folders whose names are no text: models run from there, and logs and reports take the names."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastface.backends.registry import all_backends
from fastface.pipeline import lifecycle
from fastface.pipeline.exposition import as_prometheus
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.pipeline.pool import forget_analyzers
from fastface.pipeline.status import as_text, status
from fastface.utils.errors import BackendUnavailable
from fastface.utils.web import as_json

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")

SHOWN = r"weights-\udcff"


@pytest.fixture
def pack(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a pack in such a folder; what is made of it is kept in such a folder too."""
    cache = tmp_path / os.fsdecode(b"cache-\xe9")
    folder = tmp_path / "packs" / os.fsdecode(b"weights-\xff")
    folder.parent.mkdir()
    folder.symlink_to(test_data / "models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("FASTFACE_MODELS", str(folder.parent))
    forget_analyzers()
    lifecycle.unload()
    yield SHOWN
    lifecycle.unload()
    forget_analyzers()


@pytest.mark.parametrize("backend", ["onnxruntime", "torch", "openvino"])
def test_models_run_and_every_report_takes_the_name(
    pack: str, backend: str, test_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    from PIL import Image

    photo = np.array(Image.open(test_data / "images" / "Stallone.jpg").convert("RGB"))[..., ::-1]
    with caplog.at_level(logging.DEBUG, "FastFace"):
        app = load_face_analysis(model_pack=pack, backend=backend, device="cpu")
        (face, *_) = app.get(photo.copy())
        assert face.embedding.shape == (128,)
    for record in caplog.records:
        record.getMessage().encode()
    made = tmp_path / os.fsdecode(b"cache-\xe9")
    assert any(path.is_file() for path in made.rglob("*"))
    shown = status()
    assert SHOWN in {model["pack"] for model in shown["models"]}
    for text in (as_prometheus(shown), as_text(shown), describe_loaded(app), as_json(shown).text):
        assert text.encode() and SHOWN in text.replace("\\\\", "\\")
    assert json.loads(as_json(shown).text) == shown
    assert lifecycle.unload(SHOWN) >= 2


def test_what_can_not_open_such_a_file_says_so(pack: str) -> None:
    if reason := all_backends()["insightface"].why_unavailable():
        pytest.skip(reason)
    with pytest.raises(BackendUnavailable, match=r"weights-\\udcff, whose name is no Unicode"):
        load_face_analysis(model_pack=pack, backend="insightface", device="cpu")
