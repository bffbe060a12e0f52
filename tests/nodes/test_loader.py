from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from fastface.backends import loading
from fastface.backends.pool import forget_analyzers
from fastface.nodes import loader
from fastface.nodes.loader import FastFaceLoader
from fastface.utils import host
from fastface.utils.errors import InvalidInput, ModelError


def choices(name: str) -> list[str]:
    return FastFaceLoader.INPUT_TYPES()["required"][name][0]


def defaults() -> dict:
    declared = FastFaceLoader.INPUT_TYPES()["required"]
    return {
        name: options.get("default", kind[0] if isinstance(kind, list) else None)
        for name, (kind, options) in declared.items()
    }


def test_auto_comes_first():
    for name in ("model_pack", "backend", "device", "precision"):
        assert choices(name)[0] == "auto"
    assert defaults()["download_missing"] is False and defaults()["strict"] is False


def test_the_engine_takes_every_input():
    taken = inspect.signature(loading.load_face_analysis).parameters
    assert set(defaults()) | {"mtcnn", "heads", "extra_roots", "on_download"} == set(taken)


class TestValidate:
    @pytest.mark.parametrize("value", [None, "auto"])
    def test_accepts(self, value: str | None):
        assert FastFaceLoader.VALIDATE_INPUTS(model_pack=value) is True

    def test_a_path_is_no_name(self, tmp_path: Path) -> None:
        # Workflows come from strangers: they must not reach into the file system.
        assert FastFaceLoader.VALIDATE_INPUTS(model_pack=str(tmp_path)) is not True

    def test_a_pack_of_another_machine_says_what_to_do(self):
        answer = FastFaceLoader.VALIDATE_INPUTS(model_pack="my_pack")
        assert isinstance(answer, str)
        assert "'my_pack'" in answer and "models/insightface/models/my_pack" in answer
        assert "or choose one of auto" in answer


def test_changes_when_a_pack_is_installed(monkeypatch):
    before = FastFaceLoader.IS_CHANGED(model_pack="auto")
    assert FastFaceLoader.IS_CHANGED(model_pack="auto") == before
    monkeypatch.setattr(loader, "pack_names", lambda roots: ["auto", "new"])
    assert FastFaceLoader.IS_CHANGED(model_pack="auto") != before


def test_hands_out_one_object_twice_and_shows_the_info(monkeypatch, face_analysis, tmp_path: Path):
    asked = {}
    monkeypatch.setattr(host, "insightface_roots", lambda: (tmp_path,))
    monkeypatch.setattr(loader, "describe_loaded", lambda face_analysis: "runs on cpu")
    monkeypatch.setattr(
        loader, "load_face_analysis", lambda **kwargs: asked.update(kwargs) or face_analysis
    )
    output = FastFaceLoader().load(**defaults() | {"det_size": 320}, node_id="4")
    assert output["result"] == (face_analysis, face_analysis, "runs on cpu")
    assert output["ui"] == {"text": ["runs on cpu"]}
    assert asked["det_size"] == 320 and asked["extra_roots"] == (tmp_path,)


@pytest.mark.parametrize(
    "change, error",
    [
        ({"model_pack": "no_such_pack"}, ModelError),
        ({"det_size": 650}, InvalidInput),
        ({"det_size": 0}, InvalidInput),
        ({"det_threshold": 1.5}, InvalidInput),
        ({"max_faces": -1}, InvalidInput),
        ({"detection": "guess"}, InvalidInput),
        ({"heads": "recognition,eyes"}, InvalidInput),
        ({"heads": ""}, InvalidInput),
    ],
)
def test_refuses(change: dict, error: type[Exception]):
    with pytest.raises(error) as caught:
        FastFaceLoader().load(**defaults() | change)
    (value,) = change.values()
    assert repr(value) in str(caught.value)


def test_loads_the_pack_that_needs_no_download():
    pytest.importorskip("facenet_pytorch")
    forget_analyzers()
    output = FastFaceLoader().load(**defaults() | {"model_pack": "facenet-mtcnn", "device": "cpu"})
    face_analysis, same, info = output["result"]
    assert face_analysis is same
    assert "facenet-mtcnn" in info and "detection: opened when first needed, on cpu" in info
