from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastface.nodes.build_engine import FastFaceBuildEngine
from fastface.nodes.loader import FastFaceLoader
from fastface.pipeline import loading, pack_choice
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import host
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.packs import checksums
from tests.backends.onnx_graphs.small_graphs import embedder


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
    assert set(defaults()) | {
        "mtcnn",
        "heads",
        "other_embeddings",
        "detector",
        "detector_folders",
        "extra_roots",
        "on_download",
    } == set(taken)


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
    monkeypatch.setattr(pack_choice, "pack_names", lambda roots: ["auto", "new"])
    assert FastFaceLoader.IS_CHANGED(model_pack="auto") != before


class TestFilesOfAPack:
    """The loader runs again when a file of the pack that it loads was replaced."""

    @pytest.fixture
    def packs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name in ("mine", "other"):
            (tmp_path / name).mkdir()
            for file in ("det.onnx", "rec.onnx"):
                (tmp_path / name / file).write_bytes(b"weights")
        monkeypatch.setattr(host, "insightface_roots", lambda: (tmp_path,))
        return tmp_path

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: (folder / "rec.onnx").write_bytes(b"heavier weights"),
            lambda folder: os.utime(folder / "rec.onnx", ns=(1, 1)),
            lambda folder: (folder / "rec.onnx").unlink(),
            lambda folder: (folder / "rec.onnx").rename(folder / "2.onnx"),
            lambda folder: (folder / "new.onnx").touch(),
            lambda folder: (folder / "manifest.json").write_text("{}"),
        ],
        ids=["size", "time", "deleted", "renamed", "added", "manifest"],
    )
    def test_what_changes_it(self, packs: Path, change: Callable[[Path], Any]):
        names = ("mine", "auto", None)
        before = [FastFaceLoader.IS_CHANGED(model_pack=name) for name in names]
        assert [FastFaceLoader.IS_CHANGED(model_pack=name) for name in names] == before
        other = FastFaceLoader.IS_CHANGED(model_pack="other")
        change(packs / "mine")
        after = [FastFaceLoader.IS_CHANGED(model_pack=name) for name in names]
        assert all(one != two for one, two in zip(before, after, strict=True))
        assert FastFaceLoader.IS_CHANGED(model_pack="other") == other, "another pack's matter"

    def test_weights_in_other_files_count(self, packs: Path):
        onnx = pytest.importorskip("onnx")
        model = embedder("flatten")
        onnx.save(
            model,
            str(packs / "mine" / "rec.onnx"),
            save_as_external_data=True,
            location="rec.data",
            size_threshold=0,
        )
        before = FastFaceLoader.IS_CHANGED(model_pack="mine")
        os.utime(packs / "mine" / "rec.data", ns=(1, 1))
        assert FastFaceLoader.IS_CHANGED(model_pack="mine") != before

    def test_a_manifests_files_count(self, packs: Path):
        (packs / "mine" / "weights").mkdir()
        (packs / "mine" / "weights" / "rec.onnx").write_bytes(b"weights")
        manifest = {
            "manifest_version": 2,
            "model_id": "mine",
            "license": "MODEL.LICENSE",
            "tasks": {"recognition": {"file": "weights/rec.onnx"}},
        }
        (packs / "mine" / "manifest.json").write_text(json.dumps(manifest))
        before = FastFaceLoader.IS_CHANGED(model_pack="mine")
        os.utime(packs / "mine" / "weights" / "rec.onnx", ns=(1, 1))
        assert FastFaceLoader.IS_CHANGED(model_pack="mine") != before

    def test_no_weights_are_read_for_it(self, packs: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(checksums, "file_sha256", lambda path: pytest.fail("read"))
        assert "mine/rec.onnx 7 " in FastFaceLoader.IS_CHANGED(model_pack="mine")


def test_hands_out_one_object_twice_and_shows_the_info(monkeypatch, face_analysis, tmp_path: Path):
    asked = {}
    monkeypatch.setattr(host, "insightface_roots", lambda: (tmp_path,))
    monkeypatch.setattr(loading, "describe_loaded", lambda face_analysis: "runs on cpu")
    monkeypatch.setattr(
        loading, "load_face_analysis", lambda **kwargs: asked.update(kwargs) or face_analysis
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


@pytest.mark.parametrize("node", [FastFaceLoader, FastFaceBuildEngine])
def test_the_packs_to_download_are_told_from_those_here(
    node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host, "insightface_roots", lambda: (tmp_path,))
    names, options = node.INPUT_TYPES()["required"]["model_pack"]
    assert {"antelopev2", "buffalo_l"} <= set(options["to_download"]) <= set(names)
    assert not {"auto", "facenet-mtcnn"} & set(options["to_download"])
    assert f"Not installed here: {', '.join(options['to_download'])}." in options["tooltip"]
    folder = tmp_path / "models" / "antelopev2"
    folder.mkdir(parents=True)
    (folder / "w.onnx").write_bytes(embedder("flatten").SerializeToString())
    names_then, options = node.INPUT_TYPES()["required"]["model_pack"]
    assert "antelopev2" not in options["to_download"] and set(names_then) == set(names)
