"""FASTFACE_REPLACE_INSIGHTFACE: what other packs give insightface's FaceAnalysis is understood."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.registry import get_backend
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.replacement import _ours, replace_class
from fastface.pipeline.pool import forget_analyzers
from tests.contract.compare import assert_same_detections

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
FELL_BACK = "insightface's own FaceAnalysis is used"

Make = Callable[..., tuple[FaceAnalysis, Any]]


@pytest.fixture
def both(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes ours, as the replaced class gives it, and upstream's of the same arguments."""
    kind = pytest.importorskip("insightface.app").FaceAnalysis
    before = vars(kind).get("__new__")

    def plain(cls: type, *_: Any, **__: Any) -> Any:
        return object.__new__(cls)

    def make(**arguments: Any) -> tuple[FaceAnalysis, Any]:
        arguments = {"name": str(test_data / "models"), "root": str(test_data)} | arguments
        replace_class(kind)
        ours = kind(**arguments)
        # Deleting it again would leave a class that takes no arguments.
        kind.__new__ = before or plain
        theirs = kind(**arguments)
        assert isinstance(ours, FaceAnalysis) and type(theirs) is kind
        return ours, theirs

    yield make
    kind.__new__ = before or plain


@pytest.mark.filterwarnings("ignore::UserWarning:onnxruntime")
@pytest.mark.parametrize(
    ("providers", "told"),
    [
        (None, ""),
        ([], ""),
        ([CPU], ""),
        (CPU, ""),
        ((CPU,), ""),
        ([(CPU, {})], ""),
        (["AzureExecutionProvider", CPU], ""),
        (["cpuexecutionprovider"], ""),
        ([("X",)], "('X',) is no execution provider"),
        (["X", CPU], "'X' is no execution provider"),
        ([None], "None is no execution provider"),
        ([CUDA], "asked for cuda:0 (CUDAExecutionProvider), got CPUExecutionProvider"),
        ([(CUDA,)], "asked for cuda:0 (CUDAExecutionProvider), got CPUExecutionProvider"),
        ([CUDA, CPU], "nothing runs on cuda:0 here, so cpu is used"),
        ([(CUDA, {"device_id": ""}), CPU], "nothing runs on cuda:0 here, so cpu is used"),
        ([(CUDA, {"device_id": None})], "asked for cuda:0"),
        ([(CUDA, {"device_id": "x"})], "got device_id 'x', expected a whole number"),
    ],
)
def test_what_runs_runs_and_the_rest_is_told(
    both: Make, crowd: np.ndarray, caplog: pytest.LogCaptureFixture, providers: Any, told: str
):
    """Upstream prints `EP Error` to stdout for half of these, and goes on with the CPU."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    # What a model that is shared runs on was told when it was opened.
    forget_analyzers()
    get_backend("onnxruntime")._said.clear()  # pyright: ignore[reportAttributeAccessIssue]
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        mine, theirs = both(providers=providers, allowed_modules=["detection"])
        theirs.prepare(0, det_size=(640, 640))
        mine.prepare(0, det_size=(640, 640))
        assert_same_detections(mine.det_model.detect(crowd), theirs.det_model.detect(crowd))
    assert CPU in theirs.det_model.session.get_providers()
    assert mine.analyzer.runs_on()["detection"].device == "cpu"
    assert FELL_BACK not in caplog.text
    assert told in caplog.text
    assert bool(told) == bool(caplog.records), caplog.text


def test_arguments_of_insightface_2(
    both: Make, crowd: np.ndarray, caplog: pytest.LogCaptureFixture
):
    import onnxruntime

    with caplog.at_level(logging.WARNING, logger="FastFace"):
        mine, theirs = both(
            providers=[CPU],
            provider_options=[{}],
            sess_options=onnxruntime.SessionOptions(),
            static_shape_sessions=True,
            liveness_mode="observe",
            liveness_threshold=0.25,
            addons=(),
            allowed_modules=["detection", "recognition"],
        )
    assert FELL_BACK not in caplog.text
    assert "sess_options, static_shape_sessions: these are for ONNX Runtime's own" in caplog.text
    for app in (mine, theirs):
        assert app.liveness_mode == "observe" and app.liveness_threshold == 0.25
        assert app.addons == {} and set(app.models) == {"detection", "recognition"}
        assert app.model_package is None and app.model_dir == theirs.model_dir
        app.prepare(ctx_id=0, det_size=(640, 640))
    faces = mine.get(crowd), theirs.get(crowd)
    for ours, reference in zip(*faces, strict=True):
        assert np.abs(ours.bbox - reference.bbox).max() < 0.5


def test_attributes_of_insightface_2_have_its_defaults(app: FaceAnalysis, upstream: Any):
    for name in ("addons", "liveness_mode", "liveness_threshold", "model_package"):
        assert getattr(app, name) == getattr(upstream, name), name
    assert app.addons is not upstream.addons


def test_a_pack_with_a_manifest_has_upstreams_description(
    manifest_app: FaceAnalysis, manifest_upstream: Any, portrait: np.ndarray
):
    package = manifest_app.model_package
    assert package == manifest_upstream.model_package and package.model_id == "raccoon_t"
    assert manifest_app.model_package is package
    (face,), (expected,) = manifest_app.get(portrait), manifest_upstream.get(portrait)
    assert face.verification_score == pytest.approx(expected.verification_score, abs=1e-3)
    assert _ours(name=package, providers=[CPU]).model_dir == manifest_upstream.model_dir


def test_allowed_modules_as_one_word(both: Make):
    mine, theirs = both(allowed_modules="detection", providers=[CPU])
    assert list(mine.models) == list(theirs.models) == ["detection"]


def test_further_positions_are_refused_as_upstream(both: Make):
    for kind in (FaceAnalysis, type(both(providers=[CPU], allowed_modules="detection")[1])):
        with pytest.raises(TypeError):
            kind("models", "~", None, [CPU], "too many", 1, 2, 3)
