from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fastface.nodes import embedding_file
from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.embedding_file import FastFaceEmbeddingLoad, FastFaceEmbeddingSave
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.embedding import Embedding
from fastface.utils.embedding_file import save_embedding
from fastface.utils.errors import FileError, InvalidInput, ModelError
from tests.nodes.fakes import images_with


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(embedding_file.host, "models_folder", lambda: tmp_path / "models")
    return tmp_path / "models" / "fastface" / "embeddings"


def save(name: str, embedding: Embedding, **inputs: FaceAnalysis) -> str:
    return FastFaceEmbeddingSave().save(embedding, name, **inputs)["result"][1]


def test_what_was_saved_comes_back(face_analysis: FaceAnalysis, folder: Path):
    embedding = FastFaceEmbed().embed(face_analysis, images_with(1))["result"][1]
    info = save("my character", embedding, faceanalysis=face_analysis)
    assert "my character.safetensors in models/fastface/embeddings" in info
    assert str(folder) not in info
    assert FastFaceEmbeddingLoad.INPUT_TYPES()["required"]["name"][0] == ["my character"]
    loaded, told = FastFaceEmbeddingLoad().load("my character")["result"]
    assert torch.equal(loaded.vector, embedding.vector) and loaded.space == embedding.space
    assert "made with pack fake" in told and str(embedding.space) in told


def test_a_changed_file_runs_the_node_again(folder: Path):
    before = FastFaceEmbeddingLoad.IS_CHANGED("anna")
    save("anna", Embedding(torch.ones(1, 4), "space"))
    first = FastFaceEmbeddingLoad.IS_CHANGED("anna")
    save("anna", Embedding(torch.zeros(1, 5), "space"))
    assert len({before, first, FastFaceEmbeddingLoad.IS_CHANGED("anna")}) == 3


def test_nothing_saved_yet():
    (names, _) = FastFaceEmbeddingLoad.INPUT_TYPES()["required"]["name"]
    assert names == ["(none saved yet)"]
    with pytest.raises(InvalidInput, match="no embedding has been saved yet"):
        FastFaceEmbeddingLoad().load(names[0])


def test_nobody_is_not_saved(folder: Path):
    with pytest.raises(InvalidInput, match="empty embedding"):
        save("anna", Embedding(torch.zeros(0, 4), None))
    assert not folder.exists()


def test_the_loader_of_another_pack_is_refused(face_analysis: FaceAnalysis):
    with pytest.raises(InvalidInput, match=r"of 'elsewhere'.*connect the loader that made"):
        save("anna", Embedding(torch.ones(1, 4), "elsewhere"), faceanalysis=face_analysis)


@pytest.mark.parametrize("name", ["", "..", "a/b", "CON", "x" * 300])
def test_names_that_are_none(name: str):
    with pytest.raises(InvalidInput, match="for an embedding"):
        save(name, Embedding(torch.ones(1, 4), "space"))
    with pytest.raises(InvalidInput, match="got name"):
        FastFaceEmbeddingLoad().load(name)


def test_files_that_are_none(folder: Path):
    save("good", Embedding(torch.ones(1, 4), "space"))
    whole = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-5])
    (folder / "empty.safetensors").write_bytes(b"")
    save_file({"x": torch.ones(1)}, str(folder / "foreign.safetensors"))
    metadata = {"format": "fastface-embedding", "version": "2", "space": "s"}
    save_file({"y": torch.ones(1)}, str(folder / "newer.safetensors"), metadata)
    save_file({"y": torch.ones(1)}, str(folder / "odd.safetensors"), {**metadata, "version": "1"})
    for name, reason in {
        "cut": "can't be read as an embedding",
        "empty": "can't be read as an embedding",
        "odd": "can't be read as an embedding",
        "foreign": "none that FastFace Embedding Save wrote",
        "newer": "update ComfyUI-FastFace",
    }.items():
        with pytest.raises(ModelError, match=reason):
            FastFaceEmbeddingLoad().load(name)
    with pytest.raises(InvalidInput, match="got name 'missing', expected one of cut,"):
        FastFaceEmbeddingLoad().load("missing")


def test_a_full_disk_is_told_and_the_person_of_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "models" / "anna.safetensors"
    save_embedding(path, Embedding(torch.ones(1, 8), "space"), {})
    before = path.read_bytes()

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"is full: anna\.safetensors was not written"):
        save_embedding(path, Embedding(torch.zeros(1, 8), "space"), {})
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
