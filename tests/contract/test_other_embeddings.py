"""Embeddings of networks that InstantID, IPAdapter and PuLID were not trained with."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.loader import FastFaceLoader
from fastface.pipeline.insightface_compat.replacement import _ours
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.utils import packs
from fastface.utils.errors import InvalidInput
from fastface.utils.packs import provenance
from fastface.utils.packs.checksums import content_sha256
from fastface.utils.packs.licences import AURAFACE, SFACE
from fastface.utils.packs.released import ArcFaceUse, ReleasedFile

KINDS = {"sface": (SFACE, ArcFaceUse.NO), "auraface": (AURAFACE, ArcFaceUse.ASKED)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def antelope(kind: str, test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack called antelopev2, with its file names, whose recognition somebody else released."""
    folder = tmp_path / "models" / "antelopev2"
    folder.mkdir(parents=True)
    shutil.copy(test_data / "models" / "scrfd_2.5g_bnkps.onnx", folder / "scrfd_10g_bnkps.onnx")
    weights = folder / "glintr100.onnx"
    shutil.copy(test_data / "models" / "mobilefacenet.onnx", weights)
    publisher, use = KINDS[kind]
    file = ReleasedFile(kind, content_sha256(weights), weights.stat().st_size, publisher, use)
    known = MappingProxyType({file.sha256: file})
    monkeypatch.setattr(provenance, "RELEASED_FILES", known)
    monkeypatch.setattr(provenance, "RELEASED_SIZES", frozenset({file.size_bytes}))
    monkeypatch.setattr(packs, "RELEASED_FILES", known)
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "models"))
    return folder


def load(**choices: Any):
    return load_face_analysis(
        model_pack="antelopev2", backend="onnxruntime", device="cpu", **choices
    )


def instantid(app: Any, image: np.ndarray) -> torch.Tensor:
    """As cubiq/ComfyUI_InstantID reads it."""
    app.det_model.input_size = (640, 640)
    faces = app.get(image)
    face = sorted(
        faces, key=lambda x: (x["bbox"][2] - x["bbox"][0]) * (x["bbox"][3] - x["bbox"][1])
    )
    return torch.from_numpy(face[-1]["embedding"])


def ipadapter(app: Any, image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(app.get(image)[0].normed_embedding)


def pulid(app: Any, image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(app.get(image)[0].embedding)


@pytest.mark.parametrize("consumer", [instantid, ipadapter, pulid])
def test_they_are_refused_with_the_reason(
    antelope: Path, kind: str, consumer: Any, portrait: np.ndarray
):
    app = load()
    with pytest.raises(InvalidInput, match="whose embeddings are not InsightFace's") as refused:
        consumer(app, portrait)
    message = str(refused.value)
    assert KINDS[kind][0].name in message and f"{kind}@" in message and "antelopev2" in message
    assert ("other_embeddings" in message) == (kind == "auraface")
    assert "recognition" not in app.models
    assert f"refused to InstantID, IPAdapter, PuLID: {message}" in describe_loaded(app)
    for twin in (copy.deepcopy(app), pickle.loads(pickle.dumps(app))):
        with pytest.raises(InvalidInput, match="whose embeddings are not InsightFace's"):
            consumer(twin, portrait)


@pytest.mark.parametrize("consumer", [instantid, ipadapter, pulid])
def test_auraface_is_given_to_who_says_so_and_sface_is_not(
    antelope: Path, kind: str, consumer: Any, portrait: np.ndarray
):
    app = load(other_embeddings=True)
    if kind == "auraface":
        assert consumer(app, portrait).shape == (128,) and "recognition" in app.models
        assert "refused to" not in describe_loaded(app)
        return
    with pytest.raises(InvalidInput, match="whose embeddings are not InsightFace's"):
        consumer(app, portrait)


def test_our_nodes_take_them_under_their_own_name(antelope: Path, kind: str, portrait: np.ndarray):
    image = torch.from_numpy(portrait[None, ..., ::-1].copy()).float() / 255
    faces = FastFaceEmbed().embed(load(), image)["result"][0]
    assert len(faces) == 1 and faces.embedding_space.startswith(f"{kind}@")


def test_nothing_is_claimed_of_insightface(antelope: Path, kind: str):
    info = describe_loaded(load())
    assert f"recognition: {KINDS[kind][0].name}" in info
    assert "recognition: Apache-2.0 (commercial use: yes)" in info
    assert "non-commercial" not in info


def test_the_loader_has_the_switch_at_its_end(antelope: Path, kind: str, portrait: np.ndarray):
    optional = FastFaceLoader.INPUT_TYPES()["optional"]
    assert optional["other_embeddings"][1]["default"] is False


def test_zero_rewire_by_its_own_name_gives_it(
    antelope: Path, kind: str, portrait: np.ndarray, tmp_path: Path
):
    """fal's own example is `FaceAnalysis(name="auraface")`: whoever writes that wants AuraFace."""
    cpu = ["CPUExecutionProvider"]
    with pytest.raises(InvalidInput, match="not InsightFace's"):
        pulid(_ours(name="antelopev2", root=str(tmp_path), providers=cpu), portrait)
    antelope.rename(antelope.with_name("auraface"))
    app = _ours(name="auraface", root=str(tmp_path), providers=cpu)
    if kind == "auraface":
        assert app.get(portrait)[0].embedding.shape == (128,)


def test_weights_that_are_replaced_by_others_are_refused_from_then_on(
    antelope: Path, kind: str, test_data: Path, portrait: np.ndarray
):
    weights = antelope / "glintr100.onnx"
    others = weights.read_bytes()
    data = bytearray(others)
    data[len(data) // 2] ^= 1  # nobody released this
    weights.write_bytes(data)
    app = load()
    assert app.get(portrait)[0].embedding.shape == (128,)
    weights.write_bytes(others)
    app.renew(app.analyzer)
    with pytest.raises(InvalidInput, match="not InsightFace's"):
        pulid(app, portrait)
