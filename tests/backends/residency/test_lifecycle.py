"""What is loaded is listed, and goes when it is told to."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fastface.backends.facenet_networks import networks
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.backends.residency import evictable_model, model_registry
from fastface.backends.residency.idle_evictor import batch_of_work
from fastface.backends.residency.model_registry import LoadedModel, ModelName
from fastface.pipeline import lifecycle
from fastface.pipeline.pool import forget_analyzers
from fastface.utils.errors import ModelError
from tests.backends.residency.conftest import ONE, World


def no_more_threads(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_models_are_listed_with_what_they_take(world: World) -> None:
    assert lifecycle.loaded() == []
    world.model("b", "recognition", size_bytes=7)
    world.model("a", "detection")
    first, second = lifecycle.loaded()
    assert (first.pack, second.pack) == ("a", "b")
    assert (second.task, second.backend, second.device) == ("recognition", "fake", "cpu")
    assert second.size_bytes == 7 and second.idle_seconds >= 0
    assert str(second.runs_on) == "fake on cpu"


def test_one_pack_goes_or_all_do(world: World) -> None:
    for pack in "abb":
        world.model(pack)
    assert lifecycle.unload("b") == 2
    assert [model.pack for model in lifecycle.loaded()] == ["a"]
    assert lifecycle.unload("nobody") == 0
    assert lifecycle.unload() == 1
    assert lifecycle.loaded() == [] and lifecycle.unload() == 0


def test_what_is_forgotten_is_not_listed(world: World) -> None:
    world.model()
    world.kept.clear()
    assert lifecycle.loaded() == []


def test_unloading_waits_for_the_running_call_and_lets_no_other_in(world: World) -> None:
    model = world.model()
    engine = world.opened[0]
    engine.go_on.clear()
    done = []
    first = threading.Thread(target=lambda: done.append(model.run(ONE)[0].item()))
    first.start()
    assert engine.entered.wait(10)
    unloading = threading.Thread(target=lambda: done.append(f"unloaded {lifecycle.unload()}"))
    unloading.start()
    while not model._leaving:
        threading.Event().wait(0.001)
    second = threading.Thread(target=lambda: done.append(model.run(ONE)[0].item()))
    second.start()
    assert model.status() is not None
    engine.go_on.set()
    for thread in (first, unloading, second):
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(map(str, done)) == ["2.0", "2.0", "unloaded 1"]
    assert len(world.opened) == 2, "the second call opened it again"


def test_only_what_is_idle_goes_when_room_is_wanted(world: World) -> None:
    busy, lazy = world.model("busy"), world.model("lazy")
    with busy.in_use():
        assert model_registry.drop(model_registry.models(), idle_seconds=0) == 1
        assert lazy.status() is None and busy.status() is not None


class TestBatches:
    def test_kept_models_stay(self, world: World) -> None:
        with batch_of_work():
            world.model().run(ONE)
        assert len(lifecycle.loaded()) == 1

    def test_else_they_go_with_the_last_of_them(self, world: World, monkeypatch) -> None:
        monkeypatch.setenv("FASTFACE_KEEP_LOADED", "batch")
        with batch_of_work():
            with batch_of_work():
                model = world.model()
                model.run(ONE)
            assert model.status() is not None
        assert lifecycle.loaded() == []

    def test_they_go_after_an_error_too(self, world: World, monkeypatch) -> None:
        monkeypatch.setenv("FASTFACE_PROFILE", "low-memory")
        with pytest.raises(KeyError), batch_of_work():
            world.model().run(ONE)
            raise KeyError
        assert lifecycle.loaded() == []


class TestPreload:
    @pytest.fixture(autouse=True)
    def installed(self, world: World, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))
        forget_analyzers()
        # `world` empties the list of models, and a model enters it when it is made: those that
        # an earlier test's fixture still holds must not be shared with this one.
        monkeypatch.setattr(networks, "_opened", type(networks._opened)())
        monkeypatch.setattr(get_backend("insightface"), "_opened", {})

    def test_every_model_of_a_pack_is_there(self) -> None:
        models = lifecycle.preload("models", backend="onnxruntime", device="cpu")
        assert [model.task for model in models] == ["detection", "recognition"]
        assert all(model.pack == "models" and model.size_bytes > 1e6 for model in models)
        assert models[0].runs_on.provider == "CPUExecutionProvider"

    def test_only_heads_that_are_offered(self, monkeypatch) -> None:
        monkeypatch.setenv("FASTFACE_HEADS", "detection")
        models = lifecycle.preload("models", backend="onnxruntime", device="cpu")
        assert [model.task for model in models] == ["detection"]

    def test_the_settings_name_packs(self, monkeypatch, caplog) -> None:
        assert lifecycle.preload_if_wanted() is None
        monkeypatch.setenv("FASTFACE_PRELOAD", "no_such_pack,models")
        monkeypatch.setenv("FASTFACE_PREFER_GPU", "0")
        thread = lifecycle.preload_if_wanted()
        thread.join(60)
        assert [model.pack for model in lifecycle.loaded()] == ["models", "models"]
        assert "pack 'no_such_pack' is not preloaded: there is no model pack" in caplog.text

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch", "insightface"])
    def test_what_was_released_is_brought_back_and_reported(
        self, backend: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if reason := get_backend(backend).why_unavailable():
            pytest.skip(reason)
        first = lifecycle.preload("models", backend=backend, device="cpu")
        assert {task for model in first for task in model.task.split(", ")} == {
            "detection",
            "recognition",
        }
        assert lifecycle.unload() == len(first) and lifecycle.loaded() == []
        again = lifecycle.preload("models", backend=backend, device="cpu")
        assert [model.task for model in again] == [model.task for model in first]
        assert [model.task for model in lifecycle.loaded()] == sorted(m.task for m in first)

    def test_the_networks_of_a_cascade_too(self) -> None:
        backend = get_backend("facenet")
        if reason := backend.why_unavailable():
            pytest.skip(reason)
        pack = backend.packs()[0].name
        stages = [f"detection, {name}" for name in ("PNet", "RNet", "ONet")]
        lifecycle.unload()
        for _ in range(2):
            models = lifecycle.preload(pack, backend="facenet", device="cpu")
            assert [model.task for model in models] == stages
            assert lifecycle.unload() == 3

    def test_only_what_is_in_memory_is_reported(self, monkeypatch) -> None:
        detection = lifecycle.preload("models", backend="onnxruntime", device="cpu")[0].size_bytes
        lifecycle.unload()
        make_room = evictable_model.make_room

        def tight(name: ModelName, size_bytes: int, placement: Placement, factor: float) -> None:
            make_room(name, size_bytes, placement, factor)
            if size_bytes != detection:  # the second of them pushes the first one out
                model_registry.drop(model_registry.models(), idle_seconds=0)

        monkeypatch.setattr(evictable_model, "make_room", tight)
        models = lifecycle.preload("models", backend="onnxruntime", device="cpu")
        assert [model.task for model in models] == ["recognition"]

    def test_a_thread_that_can_not_be_started_loads_nothing(self, monkeypatch, caplog) -> None:
        monkeypatch.setenv("FASTFACE_PRELOAD", "models")
        monkeypatch.setattr(threading.Thread, "start", no_more_threads)
        assert lifecycle.preload_if_wanted() is None
        assert "'FastFace preload' can't be started" in caplog.text

    def test_whatever_one_pack_raises_the_others_are_loaded(self, monkeypatch, caplog) -> None:
        preload = lifecycle.preload

        def odd(pack: str) -> list[LoadedModel]:
            if pack == "odd":
                raise KeyError("odd")
            return preload(pack, backend="onnxruntime", device="cpu")

        monkeypatch.setattr(lifecycle, "preload", odd)
        monkeypatch.setenv("FASTFACE_PRELOAD", "odd,models")
        lifecycle.preload_if_wanted().join(60)
        assert "pack 'odd' is not preloaded" in caplog.text
        assert [model.task for model in lifecycle.loaded()] == ["detection", "recognition"]

    def test_names_only(self) -> None:
        with pytest.raises((ModelError, ValueError)):
            lifecycle.preload("../models")
