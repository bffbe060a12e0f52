"""FastFaceMemory and the routes: what they show, load and let go, over a pack without networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fastface.nodes import routes
from fastface.nodes.memory import FastFaceMemory
from fastface.pipeline import lifecycle
from fastface.pipeline.lifecycle import loaded, unload
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import host
from fastface.utils.errors import InvalidInput, ModelError

PACK = "models"


@pytest.fixture(autouse=True)
def weights(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real weights, of which nothing is loaded before or after."""
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data))
    forget_analyzers()
    unload()
    yield
    unload()


run = partial(FastFaceMemory().run, backend="onnxruntime", device="cpu")


def report(**inputs: Any) -> str:
    shown = run(**inputs)
    text, _ = shown["result"]
    assert shown["ui"]["text"] == [text]
    return text


def tasks_loaded() -> set[str]:
    return {model.task for model in loaded() if model.pack == PACK}


class TestNode:
    def test_preload_status_unload(self):
        assert "models in memory:\n  none" in report(action="status")
        text = report(action="preload", model_pack=PACK)
        assert text.startswith("preloaded: models detection, models recognition\n")
        assert "  models detection: " in text
        assert tasks_loaded() == {"detection", "recognition"}
        assert "  models recognition: " in report(action="status")
        assert report(action="unload", model_pack=PACK).startswith("released: 2 model(s)\n")
        assert "models in memory:\n  none" in report(action="status")
        assert report(action="unload").startswith("released: 0 model(s)\n")

    def test_preload_after_unload_loads_again(self):
        for _ in range(2):
            text = report(action="preload", model_pack=PACK)
            assert text.startswith("preloaded: models detection, models recognition\n")
            assert tasks_loaded() == {"detection", "recognition"}
            report(action="unload")

    def test_auto_unloads_all(self):
        report(action="preload", model_pack=PACK)
        assert report(action="unload").startswith("released: 2 model(s)\n")

    def test_what_comes_after_it_goes_through(self):
        marker = object()
        assert run(action="status", after=marker)["result"][1] is marker

    def test_a_wrong_action_is_refused(self):
        with pytest.raises(InvalidInput, match=r"'sleep', expected one of .*unload"):
            run(action="sleep")

    def test_it_runs_each_time(self):
        assert FastFaceMemory.IS_CHANGED() != FastFaceMemory.IS_CHANGED()

    def test_what_is_behind_it_does_not_run_again_for_nothing(self):
        # ComfyUI names a linked input and gives None for it.
        first, second = (FastFaceMemory.IS_CHANGED(action="unload", after=None) for _ in range(2))
        assert first == second

    def test_its_socket_takes_everything(self):
        any_type: str = FastFaceMemory.INPUT_TYPES()["optional"]["after"][0]
        differs = any_type != "IMAGE"  # what ComfyUI asks
        assert not differs and any_type == "*" and json.dumps(any_type) == '"*"'
        assert {any_type: 1}["*"] == 1


def answers(path: str, **body: Any) -> Any:
    (route,) = (route for route in routes.ROUTES if route.path == f"/fastface/{path}")
    reply = route.answer(body)
    assert reply.status == 200
    return json.loads(reply.text) if reply.content_type == "application/json" else reply.text


class TestRoutes:
    def test_preload_status_metrics_unload(self):
        placed = {"pack": PACK, "backend": "onnxruntime", "device": "cpu", "precision": "fp32"}
        expected = [{"pack": PACK, "task": task} for task in ("detection", "recognition")]
        assert answers("preload", **placed) == {"loaded": expected}
        names = {model["task"] for model in answers("status")["models"] if model["pack"] == PACK}
        assert names == {"detection", "recognition"}
        assert 'fastface_model_bytes{backend="onnxruntime"' in answers("metrics")
        assert answers("unload", pack=PACK) == {"released": 2}
        assert answers("unload") == {"released": 0}
        assert answers("preload", **placed) == {"loaded": expected}
        assert tasks_loaded() == {"detection", "recognition"}

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("preload", {"pack": "../models"}),
            ("preload", {"pack": "/"}),
            ("preload", {"pack": "antelopev2"}),  # known, but not here: nothing is downloaded
            ("preload", {"backend": "os"}),
            ("preload", {"device": "cpu; ls"}),
            ("preload", {"precision": "fp8"}),
            ("preload", {"model": PACK}),
            ("unload", {"pack": "auto"}),
            ("unload", {"pack": "not there"}),
            ("unload", {"device": "cpu"}),
        ],
    )
    def test_what_is_in_no_list_is_refused(self, path: str, body: dict, test_data: Path):
        with pytest.raises(InvalidInput, match="expected") as refused:
            answers(path, **body)
        assert str(test_data) not in str(refused.value)
        assert not loaded()

    def test_a_pack_that_is_in_memory_can_be_unloaded_though_its_folder_is_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        report(action="preload", model_pack=PACK)
        monkeypatch.delenv("FASTFACE_MODELS")
        assert answers("unload", pack=PACK) == {"released": 2}

    def test_all_answer_in_comfyui_only(self):
        host.add_routes(routes.ROUTES)  # outside there is no server to add them to


def test_an_error_of_loading_comes_through_the_node(monkeypatch: pytest.MonkeyPatch):
    def fail(pack: str, **_placement: str) -> None:
        raise ModelError("damaged")

    monkeypatch.setattr(lifecycle, "preload", fail)
    with pytest.raises(ModelError, match="damaged"):
        run(action="preload")
