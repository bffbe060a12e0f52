"""insightface 2.x's liveness add-on on our object, beside upstream's, with a small model of it."""

from __future__ import annotations

import copy
import hashlib
import logging
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.replacement import _ours
from tests.contract.compare import assert_same_place
from tests.contract.conftest import Counted

addons = pytest.importorskip("insightface.addons")


@pytest.fixture(scope="session")
def liveness_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the released one's form: the brighter a face, the livelier."""
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0)],
        "liveness",
        [helper.make_tensor_value_info("image", floats, ["N", 3, 80, 80])],
        [helper.make_tensor_value_info("mean", floats, ["N"])],
    )
    path = tmp_path_factory.mktemp("addons") / "liveness.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def between(crowd: np.ndarray, liveness_file: Path, upstream: Any) -> float:
    """A threshold that some of the crowd pass."""
    model = addons.Liveness(liveness_file)
    scores = [model.predict(crowd, face.kps)["live_score"] for face in upstream.get(crowd)]
    return float(np.mean(sorted(scores)[1:3]))


@pytest.fixture
def with_liveness(app: FaceAnalysis, upstream: Any, liveness_file: Path, between: float) -> Any:
    pair = app, copy.copy(upstream)
    for each in pair:
        model = addons.Liveness(liveness_file, threshold=between)
        each.addons = {"liveness": model}
    return pair


@pytest.mark.parametrize("mode", ["normal", "observe"])
def test_a_face_that_is_not_live_is_recognised_as_upstream_does(
    with_liveness: Any, crowd: np.ndarray, mode: str
):
    for each in with_liveness:
        each.liveness_mode = mode
    mine, theirs = (each.get(crowd) for each in with_liveness)
    assert len({face.liveness.is_live for face in theirs}) == 2
    for ours, reference in zip(mine, theirs, strict=True):
        assert_same_place(ours, reference)
        assert ours.liveness.is_live == reference.liveness.is_live
        assert ours["liveness"]["status"] == "ok" and ours.liveness.reason is None
        assert ours.liveness.live_score == pytest.approx(reference.liveness.live_score, abs=1e-3)
        assert ("embedding" in ours) == ("embedding" in reference)
        assert (ours.normed_embedding is None) == (reference.normed_embedding is None)
        if "embedding" not in ours:
            with pytest.raises(KeyError, match="did not take this face for a live one"):
                ours["embedding"]


def test_without_the_addon_nothing_says_so(app: FaceAnalysis, crowd: np.ndarray):
    for face in app.get(crowd):
        assert face.liveness is None and "liveness" not in face
        assert face.embedding is not None


def test_faces_that_are_not_live_are_not_embedded(
    counted: Counted, crowd: np.ndarray, liveness_file: Path
):
    counted.app.addons["liveness"] = addons.Liveness(liveness_file, threshold=1.0)
    assert [face.embedding for face in counted.app.get(crowd)] == [None] * 5
    assert counted.totals() == {"detection": 1}


def test_addons_are_prepared(app: FaceAnalysis):
    class Addon:
        def prepare(self, ctx_id: int, **_: Any) -> None:
            self.prepared_for = ctx_id

    app.addons["mine"] = Addon()
    app.prepare(ctx_id=2)
    assert app.addons["mine"].prepared_for == 2


def test_zero_rewire_opens_them(
    test_data: Path,
    liveness_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    from insightface.addons import catalog

    content = liveness_file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    artifact = catalog.AddonArtifact("liveness.onnx", "unused", digest, len(content))
    monkeypatch.setattr(catalog, "ADDON_CATALOG", MappingProxyType({"liveness": artifact}))
    arguments = {"name": str(test_data / "models"), "root": str(liveness_file.parent.parent)}
    (liveness_file.parent.parent / "addons").mkdir(exist_ok=True)
    (liveness_file.parent.parent / "addons" / "liveness.onnx").write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        app = _ours(**arguments, addons=["liveness"], liveness_threshold=0.3)
    assert isinstance(app.addons["liveness"], addons.Liveness)
    assert app.addons["liveness"].threshold == app.liveness_threshold == 0.3
    assert not caplog.records
