"""Discovery of backends: a file is a backend, and a broken one hides no other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType

import pytest

from fastface.backends import facenet, registry
from fastface.backends.base import Backend
from fastface.backends.placement import Placement
from fastface.utils.errors import BackendUnavailable
from fastface.utils.packs import ModelPack

PACK = ModelPack("none", None, ())  # type: ignore[arg-type]


@pytest.fixture
def fresh() -> Iterator[None]:
    """Discovers anew, and forgets what a test made of it."""
    registry.all_backends.cache_clear()
    yield
    registry.all_backends.cache_clear()


def test_every_file_with_a_backend_is_found_under_its_name():
    backends = registry.all_backends()
    assert {"onnxruntime", "insightface", "facenet"} <= set(backends)
    assert all(name == backend.name for name, backend in backends.items())
    assert all(isinstance(backend, Backend) for backend in backends.values())
    assert "base" not in backends and "registry" not in backends


def test_every_backend_says_what_it_is_without_being_opened():
    for backend in registry.all_backends().values():
        reason = backend.why_unavailable()
        assert reason is None or reason.strip()
        devices = backend.devices()
        assert bool(devices) == (reason is None)
        for device in devices:
            assert "fp32" in backend.precisions(device)


@pytest.mark.parametrize("error", [RuntimeError("driver too old"), ImportError("libcudart.so")])
def test_a_backend_that_can_not_be_made_stands_as_missing(
    fresh: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
):
    def fail(self: Backend) -> None:
        raise error

    monkeypatch.setattr(facenet.FacenetBackend, "__init__", fail)
    with caplog.at_level(logging.ERROR, "FastFace"):
        backends = registry.all_backends()
    assert {"onnxruntime", "insightface", "facenet"} <= set(backends)
    broken = backends["facenet"]
    assert str(error) in broken.why_unavailable() and "doctor" in broken.why_unavailable()
    assert broken.devices() == () and broken.packs() == ()
    assert "facenet" in caplog.text
    with pytest.raises(BackendUnavailable, match=str(error)):
        registry.get_backend("facenet")
    with pytest.raises(BackendUnavailable, match=str(error)):
        broken.open(PACK, "detection", Placement())


@pytest.mark.parametrize(
    ("module", "expected"),
    [("pytorch", {"torch"}), ("onnxruntime", {"onnxruntime"}), ("pending", set())],
)
def test_a_file_that_does_not_load_breaks_the_backends_it_declares_alone(
    fresh: None, monkeypatch: pytest.MonkeyPatch, module: str, expected: set[str]
):
    wanted = f"{registry.__package__}.{module}"
    original = registry.importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name == wanted:
            raise SyntaxError("invalid syntax")
        return original(name)

    everyone = set(registry.all_backends())
    registry.all_backends.cache_clear()
    monkeypatch.setattr(registry.importlib, "import_module", import_module)
    backends = registry.all_backends()
    broken = {name for name, one in backends.items() if isinstance(one, registry.BrokenBackend)}
    assert broken == expected and set(backends) == everyone


def test_one_that_lacks_a_method_says_so(caplog: pytest.LogCaptureFixture):
    class Unfinished(Backend):
        name = "unfinished"

        def why_unavailable(self) -> str | None:
            return None

    module = ModuleType("fastface.backends.unfinished")
    Unfinished.__module__ = module.__name__
    module.Unfinished = Unfinished
    with caplog.at_level(logging.ERROR, "FastFace"):
        (found,) = registry._backends_of(module)
    assert found.name == "unfinished" and found.devices() == ()
    assert "Unfinished lacks devices(), open()" in found.why_unavailable()
    assert found.why_unavailable() in caplog.text


@pytest.mark.parametrize("name", ["", "onnx", "base", "ONNXRUNTIME"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str):
    with pytest.raises(BackendUnavailable, match=r"expected one of .*'facenet'.*'onnxruntime'"):
        registry.get_backend(name)


def test_a_missing_backend_is_refused_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(facenet.FacenetBackend, "why_unavailable", lambda self: "not here; do this")
    with pytest.raises(BackendUnavailable, match=r"'facenet' can't run here: not here; do this"):
        registry.get_backend("facenet")
