"""The packs of backend `facenet`: what they offer, refuse and need."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.facenet import FacenetBackend
from fastface.backends.facenet_networks import embedding_weights
from fastface.backends.facenet_networks.embedding_weights import CASIA_WEBFACE, VGGFACE2
from fastface.pipeline import lifecycle
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import host
from fastface.utils.embedding import mean_embedding
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import Images

facenet_pytorch = pytest.importorskip("facenet_pytorch")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's folder and torch's cache, both empty; no analyzer is left from before."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(host, "model_folders", lambda key: (tmp_path / "models" / key,))
    forget_analyzers()
    return tmp_path


def put_weights(folder: Path, name: str = CASIA_WEBFACE.file_name) -> Path:
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    torch.save(facenet_pytorch.InceptionResnetV1().state_dict(), folder / name)
    return folder / name


@pytest.fixture
def casia(folders: Path) -> FaceAnalysis:
    """A loader's object with random weights, which have no hash to fail."""
    put_weights(folders / "models" / "facenet")
    return load_face_analysis(model_pack="facenet-casia-webface", device="cpu")


@pytest.fixture
def photo(test_data: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return cv2.imread(str(test_data / "images" / "multiface.jpg"))


@pytest.mark.parametrize("place", ["models/facenet", "torch/checkpoints", "torch/hub/checkpoints"])
def test_weights_are_found(folders: Path, place: str):
    path = put_weights(folders / place)
    assert CASIA_WEBFACE.path == path
    packs = {pack.name: pack for pack in FacenetBackend().packs()}
    assert packs["facenet-casia-webface"].model("recognition").path == path


@pytest.mark.parametrize("known", [VGGFACE2, CASIA_WEBFACE])
def test_missing_weights_say_from_where_to_where(
    folders: Path, known: embedding_weights.EmbeddingWeights
):
    with pytest.raises(ModelError) as refused:
        load_face_analysis(model_pack=known.pack_name, device="cpu")
    assert known.url in str(refused.value)
    assert str(folders / "models" / "facenet") in str(refused.value)


def test_what_can_not_be_checked_is_not_downloaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        embedding_weights, "download_file", lambda *_, **__: pytest.fail("downloaded")
    )
    with pytest.raises(ModelError, match="give no hash to check it by"):
        load_face_analysis(model_pack="facenet-casia-webface", device="cpu", download_missing=True)


def test_a_download_goes_into_comfyuis_folder_and_is_checked(
    folders: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def download(url: str, target: Path, *, sha256: str, on_progress: Any) -> None:
        asked.append((url, target, sha256, on_progress))

    monkeypatch.setattr(embedding_weights, "download_file", download)

    def report(done: int, total: int) -> None:
        """Shows nothing."""

    load_face_analysis(
        model_pack="facenet-vggface2", device="cpu", download_missing=True, on_download=report
    )
    target = folders / "models" / "facenet" / VGGFACE2.file_name
    assert asked == [(VGGFACE2.url, target, VGGFACE2.sha256, report)]


def test_other_weights_under_the_name_are_refused(folders: Path, photo: np.ndarray):
    path = put_weights(folders / "models" / "facenet", VGGFACE2.file_name)
    app = load_face_analysis(model_pack="facenet-vggface2", device="cpu")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=got):
        app.analyze(Images.from_bgr(photo), ["recognition"])


def test_nodes_get_embeddings_in_a_space_of_their_own(casia: FaceAnalysis, photo: np.ndarray):
    faces = casia.analyze(Images.from_bgr(photo), ["recognition"])
    space = faces.embedding_space
    assert len(faces) == 6 and re.fullmatch("facenet-casia-webface@[0-9a-f]{12}", space or "")
    assert faces.embeddings is not None and faces.embeddings.shape == (6, 512)
    torch.testing.assert_close(faces.embeddings.norm(dim=1), torch.ones(6))
    assert mean_embedding(faces).space == space
    other = faces.with_fields(embedding_space="facenet-vggface2")
    with pytest.raises(InvalidInput, match="different embedding spaces"):
        Faces.cat([faces, other])


def test_no_faces_have_no_embeddings(casia: FaceAnalysis):
    faces = casia.analyze(Images.from_comfy(torch.zeros(2, 64, 64, 3)), ["recognition"])
    assert faces.embeddings is not None and faces.embeddings.shape == (0, 512)
    assert faces.embedding_space == casia.analyzer.pack.embedding_space


def test_replaced_weights_are_others(casia: FaceAnalysis, folders: Path, photo: np.ndarray):
    images = Images.from_bgr(photo)
    old = casia.analyze(images, ["recognition"])
    path = folders / "models" / "facenet" / CASIA_WEBFACE.file_name
    torch.manual_seed(1)
    torch.save(facenet_pytorch.InceptionResnetV1().state_dict(), path.with_name("new"))
    path.with_name("new").replace(path)
    changed = photo.copy()
    changed[:4, :4] = 0
    held = casia.analyze(Images.from_bgr(changed), ["recognition"])
    assert held.embedding_space == old.embedding_space, "it goes on with what it loaded"
    app = load_face_analysis(model_pack="facenet-casia-webface", device="cpu")
    new = app.analyze(images, ["recognition"])
    lifecycle.unload()
    moved = casia.analyze(images, ["recognition"])
    assert moved.embedding_space == new.embedding_space != old.embedding_space
    assert torch.equal(moved.embeddings, new.embeddings)  # type: ignore[arg-type]
    assert torch.cosine_similarity(old.embeddings, new.embeddings).max() < 0.9  # type: ignore[arg-type]


def test_the_detectors_content_is_that_of_all_its_networks():
    (detector, *_) = FacenetBackend().packs()
    files = detector.model("detection").files
    assert [state.path.name for state in files] == ["onet.pt", "pnet.pt", "rnet.pt"]


def test_what_can_not_be_checked_is_not_vouched_for(casia: FaceAnalysis):
    assert f"named like {CASIA_WEBFACE.url}; contents not verified" in describe_loaded(casia)


def test_arcface_consumers_are_refused(casia: FaceAnalysis, photo: np.ndarray):
    face = casia.get(photo)[0]
    assert list(casia.models) == ["detection"]
    assert set(dict(face)) == {"bbox", "kps", "det_score"}
    for read in (lambda: face.embedding, lambda: face["embedding"], lambda: face.normed_embedding):
        with pytest.raises(InvalidInput, match=r"facenet-casia-webface.*not ArcFace's.*antelopev2"):
            read()
