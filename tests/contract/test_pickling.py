"""Pickles and copies, as insightface 2.1's object: with its settings, and what users put there."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastface
from fastface.backends.facenet_networks.parameters import MtcnnParameters
from fastface.backends.registry import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.crops import CropBatch
from fastface.utils.embedding import Embedding
from fastface.utils.errors import BackendUnavailable, ModelError
from fastface.utils.faces import Faces
from tests.contract.compare import assert_same_faces
from tests.contract.conftest import Counted

BACKENDS = ["onnxruntime", "torch", "openvino", "insightface"]

Take = Callable[[Any], Any]
WAYS: dict[str, Take] = {
    "pickle": lambda app: pickle.loads(pickle.dumps(app)),
    "oldest": lambda app: pickle.loads(pickle.dumps(app, protocol=0)),
    "newest": lambda app: pickle.loads(pickle.dumps(app, protocol=pickle.HIGHEST_PROTOCOL)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=list(WAYS))
def take(request: pytest.FixtureRequest) -> Take:
    return WAYS[request.param]


@pytest.fixture(params=["pickle", "oldest"])
def through_pickle(request: pytest.FixtureRequest) -> Take:
    return WAYS[request.param]


@pytest.fixture(params=BACKENDS)
def on_backend(request: pytest.FixtureRequest, load: Callable[..., FaceAnalysis]) -> FaceAnalysis:
    try:
        get_backend(request.param)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    return load(backend=request.param)


def module_level_get(self: Any, img: np.ndarray, **choices: Any) -> list:
    """What a pack that replaces `get` has in its module."""
    return self.get_(img, **choices)[:1]


def module_level_run(names: Any, feed: Any, run_options: Any = None) -> Any:
    raise ZeroDivisionError("this ran")


class Glasses:
    """A model of a consumer's own, which knows the object that it is part of."""

    taskname = "glasses"

    def __init__(self, app: Any) -> None:
        self.app = app

    def get(self, img: np.ndarray, face: Any) -> None:
        face["glasses"] = list(self.app.models).index("glasses")


def test_it_finds_the_same_faces_as_upstreams_does(
    on_backend: FaceAnalysis, upstream: Any, crowd: np.ndarray, take: Take
):
    mine, theirs = take(on_backend), take(upstream)
    expected = upstream.get(crowd)
    assert type(mine) is FaceAnalysis and mine is not on_backend
    assert_same_faces(theirs.get(crowd), expected)
    assert_same_faces(mine.get(crowd), expected)
    assert_same_faces(on_backend.get(crowd), expected)
    assert mine.models["detection"] is mine.det_model
    for task, model in mine.models.items():
        assert model.owner is mine and model is not on_backend.models[task]


def test_settings_are_kept_as_upstreams_are(app: FaceAnalysis, upstream: Any, take: Take):
    for each in (app, copy.deepcopy(upstream)):
        each.prepare(ctx_id=0, det_thresh=0.3, det_size=(320, 256))
        each.det_model.nms_thresh = 0.2
        each.liveness_mode, each.liveness_threshold = "observe", 0.5
        each.my_own = {"a": [1, 2]}
        each.det_model.my_own = "too"
        del each.models["recognition"]
        back = take(each)
        assert (back.det_thresh, back.det_size) == (0.3, (320, 256))
        assert back.det_model.det_thresh == 0.3 and back.det_model.nms_thresh == 0.2
        assert back.det_model.input_size == (320, 256)
        assert list(back.det_model.input_sizes) == [(320, 256)]
        assert (back.liveness_mode, back.liveness_threshold) == ("observe", 0.5)
        assert back.my_own == {"a": [1, 2]} and back.my_own is not each.my_own
        assert back.det_model.my_own == "too" and list(back.models) == ["detection"]
        assert back.model_dir == each.model_dir
        # Two objects from then on.
        back.det_model.det_thresh = 0.9
        assert each.det_model.det_thresh == 0.3


def test_what_the_loader_said_is_kept(load: Callable[..., FaceAnalysis], take: Take):
    app = load(max_faces=2, detection="robust", det_threshold=0.4, heads="detection")
    back = take(app)
    assert back.max_faces == 2 and back.options() == app.options() and back.options().robust
    assert back.tasks == app.tasks == ["detection"] and back.why == app.why
    assert back.analyzer is app.analyzer, "the models are shared, here as among loaders"


def test_reasons_are_kept(load: Callable[..., FaceAnalysis], portrait: np.ndarray, take: Take):
    (face,) = take(load(heads="detection")).get(portrait)
    with pytest.raises(KeyError, match="left out by heads"):
        face["embedding"]


def test_a_pack_of_facenet(portrait: np.ndarray, take: Take):
    try:
        backend = get_backend("facenet")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    parameters = MtcnnParameters(min_face_size=40)
    app = load_face_analysis(
        model_pack="facenet-mtcnn", backend="facenet", device="cpu", mtcnn=parameters
    )
    back = take(app)
    assert back.analyzer.backend.parameters == parameters != backend.parameters
    (face,), (expected,) = back.get(portrait), app.get(portrait)
    assert np.array_equal(face.bbox, expected.bbox)
    with pytest.raises(AttributeError, match="antelopev2"):
        face.embedding  # noqa: B018


def test_weights_are_not_in_it(app: FaceAnalysis, crowd: np.ndarray, counted: Counted):
    for face in app.get(crowd):
        _ = face.embedding
    assert len(pickle.dumps(app)) < 20_000
    # Neither does pickling load anything.
    copy.deepcopy(counted.app), pickle.dumps(counted.app)
    assert counted.analyzer.runs_on() == {} and counted.since() == []


def test_one_model_alone(app: FaceAnalysis, upstream: Any, crowd: np.ndarray, take: Take):
    for each in (app, upstream):
        model = take(each.models["recognition"])
        crop = crowd[:112, :112]
        assert np.allclose(model.get_feat(crop), each.models["recognition"].get_feat(crop))
        assert take(each.det_model.input_size) == (640, 640)


def test_a_shallow_copy_shares_its_models(app: FaceAnalysis, upstream: Any, crowd: np.ndarray):
    for each in (app, upstream):
        twin = copy.copy(each)
        assert twin is not each and twin.det_model is each.det_model
        twin.my_own = 1
        assert not hasattr(each, "my_own")
        assert len(twin.get(crowd)) == len(each.get(crowd))


class TestWhatConsumersPutThere:
    def test_photomakers_patch(self, app: FaceAnalysis, crowd: np.ndarray, take: Take):
        """Both halves of it are methods of the object: in the copy they are the copy's."""
        app.get_ = app.get
        app.get = module_level_get.__get__(app, app.__class__)
        back = take(app)
        assert back.get.__self__ is back and back.get_.__self__ is back
        assert back.get_.__func__ is FaceAnalysis.get
        back.det_model.input_size = (320, 320)
        assert len(back.get(crowd)) == 1 and len(back.get_(crowd)) > 1
        assert app.det_model.input_size == (640, 640)

    def test_a_replaced_run(self, app: FaceAnalysis, crowd: np.ndarray, take: Take):
        app.models["recognition"].session.run = module_level_run
        back = take(app)
        with pytest.raises(ZeroDivisionError, match="this ran"):
            back.get(crowd)
        del app.models["recognition"].session.run
        assert app.get(crowd)[0].embedding is not None

    def test_a_model_that_knows_the_object(
        self, app: FaceAnalysis, portrait: np.ndarray, take: Take
    ):
        app.models["glasses"] = Glasses(app)
        back = take(app)
        assert back.models["glasses"].app is back
        assert back.get(portrait)[0].glasses == 2

    def test_a_session_that_can_be_pickled(
        self, app: FaceAnalysis, upstream: Any, crowd: np.ndarray, take: Take
    ):
        app.models["recognition"].session = upstream.models["recognition"].session
        back = take(app)
        assert type(back.models["recognition"].session).__name__ == "PickableInferenceSession"
        assert back.models["recognition"].session is not app.models["recognition"].session
        assert_same_faces(back.get(crowd), upstream.get(crowd))

    def test_what_can_not_be_pickled_is_left_out_and_named(
        self,
        app: FaceAnalysis,
        crowd: np.ndarray,
        through_pickle: Take,
        caplog: pytest.LogCaptureFixture,
    ):
        expected = app.get(crowd)
        app.lock = threading.Lock()
        app.get_ = app.get
        app.get = (lambda self, img: self.get_(img)[:1]).__get__(app)
        app.det_model.detect = lambda *_, **__: None
        app.models["lost"] = lambda: None
        app.kept = "this"
        with caplog.at_level(logging.WARNING, logger="FastFace"):
            back = through_pickle(app)
        text = caplog.text
        for lost in ("its lock,", "its get,", "its detect,", "its models['lost'],"):
            assert lost in text
        assert "its kept" not in text and back.kept == "this"
        assert not hasattr(back, "lock") and "lost" not in back.models
        assert_same_faces(back.get(crowd), expected)

    def test_a_deep_copy_keeps_it_all(self, app: FaceAnalysis, crowd: np.ndarray, caplog: Any):
        app.lock = threading.Lock()
        app.get_ = app.get
        app.get = (lambda self, img: self.get_(img)[:1]).__get__(app)
        back = copy.deepcopy(app)
        assert back.lock is app.lock and back.get.__self__ is back
        assert len(back.get(crowd)) == 1 and not caplog.records


def test_in_another_process(app: FaceAnalysis, crowd: np.ndarray, tmp_path: Path):
    app.prepare(0, det_thresh=0.4, det_size=(320, 320))
    np.save(tmp_path / "image.npy", crowd)
    (tmp_path / "app.pickle").write_bytes(pickle.dumps(app))
    script = f"""
import pickle, numpy as np
from pathlib import Path
from install import import_pack
import_pack("fastface")
folder = Path({str(tmp_path)!r})
app = pickle.loads((folder / "app.pickle").read_bytes())
faces = app.get(np.load(folder / "image.npy"))
(folder / "faces.pickle").write_bytes(pickle.dumps((app.det_thresh, app.det_size, faces)))
"""
    root = Path(fastface.__file__ or "").parent
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=300)
    det_thresh, det_size, faces = pickle.loads((tmp_path / "faces.pickle").read_bytes())
    assert (det_thresh, det_size) == (0.4, (320, 320))
    assert_same_faces(faces, app.get(crowd))


def test_multiprocessing_takes_it(app: FaceAnalysis):
    """It pickles with a pickler of its own."""
    from multiprocessing.reduction import ForkingPickler

    back = pickle.loads(bytes(ForkingPickler.dumps(app)))
    assert back.model_dir == app.model_dir and multiprocessing.current_process().name


def test_a_pack_that_was_moved_is_searched_by_name(
    five_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portrait: np.ndarray
):
    import shutil

    (tmp_path / "here").mkdir()
    shutil.copytree(five_models, tmp_path / "here" / "moving")
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "here"))
    app = load_face_analysis(model_pack="moving", backend="onnxruntime", device="cpu")
    pickled = pickle.dumps(app)
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(ModelError, match="no model pack 'moving'"):
        pickle.loads(pickled)
    monkeypatch.setenv("FASTFACE_MODELS", str(tmp_path / "there"))
    back = pickle.loads(pickled)
    assert len(back.get(portrait)) == 1 and "there" in str(back.analyzer.pack.folder)


@pytest.mark.parametrize("way", WAYS)
def test_everything_else_on_a_wire(way: str):
    """Faces, embeddings, crops and parameters, as caches of other packs keep them."""
    faces = Faces.empty([(4, 5)])
    crops = CropBatch(torch.zeros(1, 8, 8, 3), torch.zeros(1, 2, 3), (0,), ((4, 5),))
    values = [faces, Embedding(torch.ones(1, 4), "space"), crops, MtcnnParameters(factor=0.5)]
    for value in values:
        back = WAYS[way](value)
        assert type(back) is type(value) and repr(back) == repr(value)
