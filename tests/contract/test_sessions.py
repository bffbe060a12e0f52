"""`model.session`: answered on every backend with what is true; what is put there runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.registry import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.lifecycle import unload
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.images import Images
from tests.contract.compare import assert_same_faces, assert_same_place
from tests.contract.conftest import Counted

onnxruntime = pytest.importorskip("onnxruntime")

BACKENDS = ["onnxruntime", "torch", "openvino", "insightface"]
ON_ORT = ("onnxruntime", "insightface")
CPU = "CPUExecutionProvider"


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest, load: Callable[..., FaceAnalysis]) -> Any:
    """Loads the test data on one backend, a new object each time."""
    try:
        get_backend(request.param)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    return lambda: load(backend=request.param)


class Recorder:
    """A session around one of ONNX Runtime's, that notes what it is asked."""

    def __init__(self, file: str) -> None:
        self._session = onnxruntime.InferenceSession(file, providers=[CPU])
        self.calls: list[tuple[Any, ...]] = []

    def run(self, names: Any, feed: Any, run_options: Any = None) -> Any:
        ((name, value),) = feed.items()
        self.calls.append((list(names), name, value.shape, value.dtype))
        return self._session.run(names, feed, run_options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class TestAnswers:
    def test_inputs_and_outputs_are_the_released_graphs(self, make: Any, upstream: Any):
        app = make()
        for task, model in app.models.items():
            theirs = onnxruntime.InferenceSession(model.model_file, providers=[CPU])
            for call in ("get_inputs", "get_outputs"):
                mine = getattr(model.session, call)()
                expected = getattr(theirs, call)()
                for name in ("name", "shape", "type"):
                    got = [getattr(each, name) for each in mine]
                    assert got == [getattr(each, name) for each in expected], (task, name)
            assert upstream.models[task].session.get_inputs()[0].name == model.input_name

    def test_providers_are_what_runs(self, make: Any, upstream: Any):
        app = make()
        for task, model in app.models.items():
            providers = model.session.get_providers()
            assert isinstance(providers, list) and all(isinstance(p, str) for p in providers)
            if app.analyzer.backend.name in ON_ORT:
                assert providers == upstream.models[task].session.get_providers() == [CPU]
            else:
                assert providers == [app.analyzer.model(task).runs_on.provider]
                assert app.analyzer.backend.name in providers[0].lower()
            assert "CUDAExecutionProvider" not in providers

    def test_it_runs_as_upstreams(self, make: Any, crowd: np.ndarray, upstream: Any):
        app = make()
        random = np.random.default_rng(1)
        for task, model in app.models.items():
            side = 320 if task == "detection" else 112
            blob = random.normal(0, 0.5, (1, 3, side, side)).astype(np.float32)
            theirs = upstream.models[task]
            expected = theirs.session.run(theirs.output_names, {theirs.input_name: blob})
            for names in (model.output_names, None, []):
                results = model.session.run(names, {model.input_name: blob})
                for got, reference in zip(results, expected, strict=True):
                    assert got.shape == reference.shape and got.dtype == reference.dtype
                    assert np.allclose(got, reference, atol=2e-2)
            last, first = model.output_names[-1], model.output_names[0]
            swapped = model.session.run([last, first], {model.input_name: blob})
            assert np.array_equal(swapped[1], model.session.run(None, {"x": blob})[0])

    def test_what_it_can_not_run_is_refused(self, make: Any):
        session = make().det_model.session
        blob = np.zeros((1, 3, 64, 64), np.float32)
        with pytest.raises(InvalidInput, match=r"outputs \['nothing'\]"):
            session.run(["nothing"], {"input": blob})
        with pytest.raises(InvalidInput, match="the one input"):
            session.run(None, {"input": blob, "more": blob})

    def test_it_is_onnxruntimes_where_that_is_the_engine(self, make: Any):
        app = make()
        session = app.models["recognition"].session
        is_ort = app.analyzer.backend.name in ON_ORT
        assert isinstance(session, onnxruntime.InferenceSession) == is_ort
        for name in ("io_binding", "get_modelmeta", "_sess"):
            assert hasattr(session, name) == is_ort
        assert not hasattr(session, "is_dynamic") and not hasattr(session, "__array__")
        if is_ort:
            assert session.get_modelmeta().graph_name
            assert session.get_provider_options().keys() == {CPU}

    def test_looking_loads_nothing(self, counted: Counted):
        for model in counted.app.models.values():
            assert model.session.get_inputs() and model.session.get_outputs()
            assert model.input_name and model.input_shape and model.output_names
            assert not hasattr(model.session, "is_dynamic")
        assert counted.analyzer.runs_on() == {}


class TestPut:
    def test_a_session_that_is_put_there_runs(
        self, make: Any, upstream: Any, crowd: np.ndarray, portrait: np.ndarray
    ):
        """Deep-Live-Cam and services build sessions of their own and hand them to the models."""
        app, other = make(), make()
        before = upstream.models["recognition"].session
        theirs = upstream.models["recognition"]
        put = {task: Recorder(model.model_file) for task, model in app.models.items()}
        reference = Recorder(theirs.model_file)
        expected = upstream.get(crowd)
        try:
            theirs.session = reference
            upstream.get(crowd)
        finally:
            theirs.session = before
        for task, model in app.models.items():
            model.session = put[task]
            assert model.session is put[task]
        faces = app.get(crowd)
        assert_same_faces(faces, expected)
        assert len(put["detection"].calls) == 1
        # One call a face, with the very arguments that upstream's model calls its session with.
        assert put["recognition"].calls == reference.calls and len(reference.calls) == len(faces)
        # Every time: nobody knows what was put there.
        app.get(crowd)
        assert len(put["detection"].calls) == 2
        unload(None)
        assert_same_faces(app.get(portrait), upstream.get(portrait))
        assert len(put["detection"].calls) == 3
        # For this object alone.
        assert_same_faces(other.get(crowd), expected)
        assert len(put["detection"].calls) == 3
        for model in app.models.values():
            del model.session
        assert_same_faces(app.get(crowd), expected)
        assert len(put["detection"].calls) == 3

    def test_the_detector_gets_what_upstreams_gets(
        self, make: Any, test_data: Path, crowd: np.ndarray
    ):
        """Upstream takes a session that is put there only without sessions for each size."""
        theirs = pytest.importorskip("insightface.app").FaceAnalysis(
            name=str(test_data / "models"),
            allowed_modules=["detection"],
            providers=[CPU],
            static_shape_sessions=False,
        )
        theirs.prepare(0, det_size=(640, 384))
        app = make()
        app.prepare(0, det_size=(640, 384))
        sessions = []
        for each in (app, theirs):
            sessions.append(Recorder(each.det_model.model_file))
            each.det_model.session = sessions[-1]
        (face, *_), (expected, *_) = app.get(crowd), theirs.get(crowd)
        assert_same_place(face, expected)
        assert sessions[0].calls == sessions[1].calls and len(sessions[0].calls) == 1

    def test_a_replaced_run_is_called(
        self, make: Any, upstream: Any, crowd: np.ndarray, portrait: np.ndarray
    ):
        """As DirectML's users do it: one call at a time."""
        app, other, lock, calls = make(), make(), threading.Lock(), []
        expected = upstream.get(crowd)

        def locked(task: str, run: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                with lock:
                    calls.append(task)
                    return run(*arguments, **options)

            return call

        for task, model in app.models.items():
            model.session.run = locked(task, model.session.run)
        assert_same_faces(app.get(crowd), expected)
        assert calls == ["detection"] + ["recognition"] * len(expected)
        calls.clear()
        unload(None)
        assert_same_faces(app.get(portrait), upstream.get(portrait))
        assert calls == ["detection", "recognition"]
        calls.clear()
        assert_same_faces(other.get(crowd), expected)
        assert calls == []
        features = app.models["recognition"].get_feat(crowd[:112, :112])
        assert features.shape == (1, len(expected[0].embedding)) and calls == ["recognition"]
        del app.models["recognition"].session.run, app.det_model.session.run
        calls.clear()
        assert_same_faces(app.get(crowd), expected)
        assert calls == []

    def test_upstream_calls_a_replaced_run_too(self, upstream: Any, crowd: np.ndarray):
        session, calls = upstream.models["recognition"].session, []
        run = session.run

        def counted(*arguments: Any) -> Any:
            calls.append(1)
            return run(*arguments)

        session.run = counted
        try:
            faces = upstream.get(crowd)
        finally:
            del session.run
        assert len(calls) == len(faces)

    def test_the_packs_own_nodes_do_not_take_part(self, app: FaceAnalysis, crowd: np.ndarray):
        def broken(*_: Any) -> Any:
            raise AssertionError("a consumer's session is for the consumer")

        for model in app.models.values():
            model.session.run = broken
        images = Images.from_bgr(crowd)
        assert app.analyze(images, ["recognition"]).embeddings is not None
        with pytest.raises(AssertionError, match="for the consumer"):
            app.get(crowd)

    def test_every_head(self, full_app: FaceAnalysis, full_upstream: Any, portrait: np.ndarray):
        sessions = {}
        for task, model in full_app.models.items():
            model.session = sessions[task] = Recorder(model.model_file)
        (mine,), (theirs,) = full_app.get(portrait), full_upstream.get(portrait)
        assert set(mine) == set(theirs)
        for key in ("landmark_2d_106", "landmark_3d_68", "pose"):
            assert np.allclose(mine[key], theirs[key], atol=0.05), key
        assert (mine.age, mine.sex) == (theirs.age, theirs.sex)
        assert {task: len(each.calls) for task, each in sessions.items()} == dict.fromkeys(
            sessions, 1
        )

    def test_another_export_with_other_names(
        self, app: FaceAnalysis, upstream: Any, crowd: np.ndarray, tmp_path: Path
    ):
        onnx = pytest.importorskip("onnx")
        model = onnx.load(app.models["recognition"].model_file)
        old, new = model.graph.output[0].name, "other_name"
        for node in model.graph.node:
            node.output[:] = [new if name == old else name for name in node.output]
        model.graph.output[0].name = new
        onnx.save(model, tmp_path / "other.onnx")
        app.models["recognition"].session = Recorder(str(tmp_path / "other.onnx"))
        assert app.models["recognition"].output_names == [new]
        assert_same_faces(app.get(crowd), upstream.get(crowd))


class TestProviders:
    def test_the_cpu_can_be_asked_for(self, app: FaceAnalysis, caplog: pytest.LogCaptureFixture):
        app.det_model.session.set_providers([CPU])
        app.det_model.session.set_providers([CPU], [{}])
        app.det_model.session.set_providers()
        assert not caplog.records and app.analyzer.placement.device == "cpu"

    def test_anywhere_else_it_does_not_go(self, app: FaceAnalysis, caplog: Any):
        app.det_model.session.set_providers(["CUDAExecutionProvider", CPU])
        assert "detection stays on cpu, though it was asked to go to" in caplog.text

    def test_preparing_for_the_cpu_reaches_a_session_that_was_put_there(self, app: FaceAnalysis):
        class Session(Recorder):
            asked: Any = None

            def set_providers(self, providers: Any) -> None:
                self.asked = providers

        session = app.models["recognition"].session = Session(app.models["recognition"].model_file)
        app.prepare(ctx_id=-1)
        assert session.asked == [CPU]


def test_a_cascade_has_no_session_to_replace(portrait: np.ndarray):
    try:
        get_backend("facenet")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    app = load_face_analysis(model_pack="facenet-mtcnn", backend="facenet", device="cpu")
    session = app.det_model.session
    assert session.get_providers() == ["torch"] and session.get_outputs() == []
    assert session.get_inputs()[0].shape == [None, 3, None, None]
    assert not isinstance(session, onnxruntime.InferenceSession)
    with pytest.raises(BackendUnavailable, match="no single graph"):
        session.run(None, {"image": np.zeros((1, 3, 64, 64), np.float32)})
    assert len(app.get(portrait)) == 1
    app.det_model.session = object()
    with pytest.raises(InvalidInput, match=r"no ONNX graph.*replace the model's own methods"):
        app.get(portrait)
