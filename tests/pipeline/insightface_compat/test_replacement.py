"""Opt-in: packs that build insightface's FaceAnalysis themselves get ours."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.replacement import (
    VARIABLE,
    replace_class,
    replace_if_wanted,
)
from fastface.utils.errors import InvalidInput

insightface_app = pytest.importorskip("insightface.app")


@pytest.fixture
def upstream():
    """insightface's class, as it was before and after the test."""
    kind = insightface_app.FaceAnalysis
    yield kind
    if "__new__" in vars(kind):
        # Deleting it again would leave a class that takes no arguments: a habit of CPython's.
        kind.__new__ = lambda cls, *_, **__: object.__new__(cls)


@pytest.mark.parametrize("value", [None, "0"])
def test_nothing_happens_unless_asked_for(upstream, monkeypatch, value: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    before = upstream.__new__
    assert not replace_if_wanted()
    assert upstream.__new__ is before


def test_a_wrong_value_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "maybe")
    with pytest.raises(InvalidInput, match="'maybe', expected 0 or 1"):
        replace_if_wanted()


def test_the_class_gives_our_object(upstream, test_data: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert replace_if_wanted()
    # As InstantID's loader has it: root, name, provider; then prepare.
    folder = str(test_data / "models")
    app = upstream(name=folder, root=str(test_data), providers=["CPUExecutionProvider"])
    assert isinstance(app, FaceAnalysis)
    assert app.det_size == [(128, 128), (640, 640)]
    app.prepare(ctx_id=0, det_size=(640, 640))
    assert app.get(np.zeros((64, 64, 3), np.uint8)) == []


@pytest.mark.skipif(os.name == "nt", reason="paths are Unicode there")
def test_a_path_that_is_no_text_is_a_path(upstream, test_data: Path, tmp_path: Path) -> None:
    replace_class(upstream)
    folder = tmp_path / os.fsdecode(b"weights-\xff")
    folder.symlink_to(test_data / "models")
    for name in (folder, str(folder), os.fsencode(folder)):
        app = upstream(name=name, root=os.fsencode(tmp_path), providers=["CPUExecutionProvider"])
        assert isinstance(app, FaceAnalysis)
        assert app.analyzer.pack.folder == folder


@pytest.mark.parametrize("arguments", [{"name": 3}, {"name": None}, {"root": None}, {"root": 3}])
def test_what_is_no_path_goes_to_the_original_with_a_word(upstream, caplog, arguments) -> None:
    replace_class(upstream)
    with pytest.raises(Exception):  # noqa: B017  whatever the original raises
        upstream(**arguments)
    assert "expected a name or path" in caplog.text


def test_allowed_modules_limit_the_models(upstream, test_data: Path) -> None:
    replace_class(upstream)
    app = upstream(name=str(test_data / "models"), allowed_modules=["detection"])
    assert list(app.models) == ["detection"]


def test_our_insightface_backend_still_gets_the_original(upstream, test_data: Path, monkeypatch):
    from fastface.backends.registry import all_backends
    from fastface.pipeline.loading import load_face_analysis
    from fastface.pipeline.pool import forget_analyzers

    replace_class(upstream)
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))
    forget_analyzers()
    all_backends()["insightface"]._opened.clear()
    app = load_face_analysis(model_pack="models", backend="insightface", device="cpu")
    with app.analyzer.model("detection")._app.in_use() as upstream:
        assert type(upstream.model("detection")).__module__.startswith("insightface.")


def test_subclasses_and_what_we_lack_stay_upstreams(upstream, tmp_path: Path, caplog) -> None:
    replace_class(upstream)

    class Derived(upstream):
        def __init__(self) -> None:
            self.made = True

    assert Derived().made
    (tmp_path / "empty").mkdir()
    with (
        caplog.at_level(logging.WARNING, logger="FastFace"),
        pytest.raises(AssertionError),  # upstream's, for a folder without a detector
    ):
        upstream(name=str(tmp_path / "empty"))
    assert "insightface's own FaceAnalysis is used" in caplog.text
