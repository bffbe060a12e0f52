"""ReActor's face models, held against insightface's faces and ReActor's own code."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastface.nodes.face_model import FastFaceFaceModel
from fastface.pipeline.insightface_compat import face_model
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.face import Face
from fastface.pipeline.insightface_compat.face_model import FIELDS, caution, save_face_model
from fastface.utils import host
from fastface.utils.errors import FileError, InvalidInput, ModelError
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.packs.checksums import content_sha256
from fastface.utils.packs.released import RELEASED_FILES, RESNET_50
from tests.other_packs import function_of


@pytest.fixture
def models_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(host, "models_folder", lambda: tmp_path)
    return tmp_path


def comfy_image(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)[..., ::-1].astype(np.float32) / 255)


def made(app: FaceAnalysis, images: torch.Tensor, name: str = "", **inputs: Any) -> tuple[Any, str]:
    return FastFaceFaceModel().make(app, images, name, **inputs)["result"]


def test_a_file_holds_what_reactor_would_save(
    full_app: FaceAnalysis, full_upstream: Any, portrait: np.ndarray, models_folder: Path
):
    made(full_app, comfy_image(portrait), "A person (1)")
    kept = load_file(models_folder / "reactor" / "faces" / "A person (1).safetensors")
    (theirs,) = full_upstream.get(portrait)
    assert set(kept) == set(FIELDS)
    for key, value in kept.items():
        expected = torch.tensor(theirs[key])
        assert value.shape == expected.shape, key
        assert value.is_floating_point() == expected.is_floating_point(), key
        torch.testing.assert_close(value.double(), expected.double(), rtol=1e-3, atol=0.05)


def test_reactors_own_functions_read_it_and_save_the_same(
    full_app: FaceAnalysis, portrait: np.ndarray, models_folder: Path, tmp_path: Path
):
    face_class = pytest.importorskip("insightface.app.common").Face
    scope = {"torch": torch, "save_file": save_file, "safe_open": safe_open, "Face": face_class}
    load = function_of("COMFYUI_REACTOR_PATH", "reactor_utils.py", "load_face_model", **scope)
    save = function_of("COMFYUI_REACTOR_PATH", "reactor_utils.py", "save_face_model", **scope)
    face, _ = made(full_app, comfy_image(portrait), "me")
    ours = models_folder / "reactor" / "faces" / "me.safetensors"
    read = load(str(ours))
    for key in FIELDS:
        assert np.array_equal(read[key], face[key]), key
    save(face, str(tmp_path / "theirs.safetensors"))
    assert (tmp_path / "theirs.safetensors").read_bytes() == ours.read_bytes()


def test_several_photos_are_blended_as_reactor_does(
    full_app: FaceAnalysis, portrait: np.ndarray, models_folder: Path
):
    darker = (portrait * 0.6).astype(np.uint8)
    single = [full_app.get(picture)[0] for picture in (portrait, darker)]
    face, info = made(full_app, comfy_image(portrait, darker))
    expected = np.mean([each.embedding for each in single], axis=0)
    assert np.allclose(face.embedding, expected, atol=1e-3)
    assert np.allclose(face.bbox, single[0].bbox) and face.age == single[0].age
    assert info.startswith("made of 2 face(s) in 2 image(s)")
    assert not list(models_folder.iterdir())


def test_chosen_faces_count(full_app: FaceAnalysis, crowd: np.ndarray, models_folder: Path):
    images = comfy_image(crowd)
    largest, _ = made(full_app, images)
    faces = full_app.analyze(Images.from_comfy(images))
    first, _ = made(full_app, images, faces=faces[:1])
    assert np.allclose(first.bbox, faces.boxes[0]) and not np.allclose(first.bbox, largest.bbox)


def test_no_face_is_no_error(
    full_app: FaceAnalysis,
    landscape: np.ndarray,
    models_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(host, "blocked", lambda instead: "blocked")
    face, info = made(full_app, comfy_image(landscape), "nobody")
    assert face == "blocked" and info == "no face in 1 image: no face model was made"
    assert not list(models_folder.iterdir())


def test_a_pack_without_all_heads(app: FaceAnalysis, portrait: np.ndarray):
    with pytest.raises(ModelError, match="has no landmark_3d_68, landmark_2d_106, genderage model"):
        made(app, comfy_image(portrait))


def test_says_when_swap_models_want_another_network(full_app: FaceAnalysis, portrait: np.ndarray):
    _, info = made(full_app, comfy_image(portrait))
    assert (
        "an unknown network (mobilefacenet.onnx)" in caution(full_app.analyzer.pack)
        and caution(full_app.analyzer.pack) in info
    )


@pytest.mark.parametrize("name", ["CON", "nul.x", "Com1", "x.", "\u00e4" * 99 + ".", "\u9854" * 90])
def test_names_that_are_none_everywhere(tmp_path: Path, name: str):
    with pytest.raises(InvalidInput, match=r"got the name .* for a face model, but"):
        save_face_model(Face(), tmp_path, name)
    assert not list(tmp_path.iterdir())


def plain_face() -> Face:
    return Face({key: np.zeros(2, np.float32) for key in FIELDS})


def test_a_file_is_as_readable_as_others(tmp_path: Path):
    (tmp_path / "other").write_bytes(b"")
    path = save_face_model(plain_face(), tmp_path, "me")
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_full_disk_is_told_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = save_face_model(plain_face(), tmp_path, "me")
    before = path.read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"disk of .* is full: me.safetensors was not written"):
        save_face_model(plain_face(), tmp_path, "me")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_network_that_swap_models_want_is_known_by_its_content(
    full_app: FaceAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = full_app.analyzer.pack.model("recognition")
    named = tmp_path / "w600k_r50.onnx"
    shutil.copy(file.path, named)
    pack = ModelPack("buffalo_l", tmp_path, (ModelFile(named, "recognition"),))
    assert "an unknown network (w600k_r50.onnx)" in caution(pack), "its name proves nothing"
    monkeypatch.setattr(face_model, "RESNET_50", content_sha256(file.path))
    monkeypatch.setattr(
        face_model, "RELEASED_FILES", {content_sha256(file.path): RELEASED_FILES[RESNET_50]}
    )
    assert caution(pack) == caution(full_app.analyzer.pack) == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".hidden", "", "x" * 101, "a\0b", " x"])
def test_names_that_lead_elsewhere(
    full_app: FaceAnalysis, portrait: np.ndarray, name: str, tmp_path
):
    face, _ = made(full_app, comfy_image(portrait))
    with pytest.raises(InvalidInput, match="got the name"):
        save_face_model(face, tmp_path, name)
    assert not list(tmp_path.iterdir())
