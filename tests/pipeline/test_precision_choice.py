"""Cheaper precisions with real weights: proved, refused, chosen, remembered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.onnx_graphs import graph_cache
from fastface.backends.onnx_graphs.quantiser import Quantiser
from fastface.backends.openvino import OpenVinoBackend
from fastface.pipeline import calibration, precision_proof, precision_report, proven_choice
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import cores, host
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.pictures import read_picture

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file: graphs are rewritten and quantised once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def setting(
    test_data: Path, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A processor with VNNI, one photo to calibrate on and as it is mirrored, and wide limits."""
    features = cores.cpu_features() | {"avx512_vnni"}
    monkeypatch.setattr(cores, "cpu_features", lambda: features)
    monkeypatch.setattr(host, "cache_folder", lambda: cache_folder)
    monkeypatch.setattr(graph_cache, "_caches", {})
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(test_data / "images" / "multiface.jpg", photos)
    monkeypatch.setenv("FASTFACE_CALIBRATION", str(photos))
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))
    monkeypatch.setattr(
        calibration, "_views", lambda picture: (picture, np.ascontiguousarray(picture[:, ::-1]))
    )
    monkeypatch.setattr(precision_proof, "_EXACT_SHARES", (0.0,))
    monkeypatch.setattr(precision_proof, "_TIMED_ROUNDS", 1)
    # This pack's int8 is no match for fp32 without the instructions: its sums overflow.
    for limit, value in (
        ("LEAST_RECALL", 0.8),
        ("MOST_LANDMARK_PX", 4.0),
        ("LEAST_LANDMARK_COSINE", 0.9),
    ):
        monkeypatch.setattr(precision_report, limit, value)
    yield
    forget_analyzers()


def loaded(**chosen: Any) -> FaceAnalysis:
    return load_face_analysis(
        model_pack="models", backend="onnxruntime", device="cpu", heads="detection", **chosen
    )


def photo(test_data: Path) -> np.ndarray:
    return np.ascontiguousarray(read_picture(test_data / "images" / "multiface.jpg")[..., ::-1])


def test_what_is_proven_runs_in_it(test_data: Path):
    app = loaded(precision="int8")
    faces = app.get(photo(test_data))
    exact = loaded(precision="fp32").get(photo(test_data))
    assert "int8" in str(app.analyzer.runs_on()["detection"])
    assert len(faces) == len(exact) == 6
    assert not np.array_equal(faces[0].kps, exact[0].kps)
    assert np.abs(faces[0].kps - exact[0].kps).max() < 8
    assert "proof: detection in int8" in describe_loaded(app)


def test_a_spoilt_graph_is_refused(monkeypatch):
    make = Quantiser.quantise

    def spoilt(self: Quantiser, graph: Any, recording: Any, ends: Any, target: Path) -> None:
        make(self, graph, recording, ends, target)
        spoilt_graph = onnx.load(target)
        for tensor in spoilt_graph.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4:
                tensor.raw_data = bytes(len(tensor.raw_data))
                break
        onnx.save(spoilt_graph, target)

    monkeypatch.setattr(Quantiser, "quantise", spoilt)
    # Other pictures, and so graphs of their own.
    monkeypatch.setattr(calibration, "_views", lambda picture: (picture, picture[::-1].copy()))
    with pytest.raises(BackendUnavailable, match=r"int8 is refused for pack 'models'.*recall"):
        loaded(precision="int8")
    app = loaded(precision="fast")
    assert "int8" not in str(app.analyzer.model("detection").runs_on)
    assert "unfit" in describe_loaded(app)


def test_what_was_found_out_is_remembered(monkeypatch):
    loaded(precision="int8")
    monkeypatch.setattr(precision_proof.PrecisionProver, "_found_out", None)
    monkeypatch.setattr(graph_cache, "_caches", {})
    assert loaded(precision="int8").analyzer.placement.precision_of("detection") == "int8"


@pytest.mark.parametrize(("ms", "precision"), [((10.0, 5.0), "int8"), ((10.0, 9.9), "fp32")])
def test_fast_takes_what_is_proven_and_faster(ms, precision, monkeypatch, tmp_path):
    monkeypatch.setattr(precision_proof, "paired_ms", lambda *uses: ms)
    # What was found out by another engine is not known of this one.
    monkeypatch.setattr(precision_proof, "prover", lambda: f"timed {ms}")
    app = loaded(precision="fast")
    assert app.analyzer.placement.precision_of("detection") == precision


def test_processors_without_the_instructions(monkeypatch):
    monkeypatch.setattr(cores, "cpu_features", lambda: frozenset({"avx2"}))
    with pytest.raises(InvalidInput, match="this processor has no instructions for int8"):
        loaded(precision="int8")
    app = loaded(precision="fast")
    assert app.analyzer.placement.precision == "fp32"
    assert "no instructions for int8" in describe_loaded(app)


@pytest.mark.parametrize(("ms", "taken"), [((30.0, 10.0), "torch"), ((10.0, 10.0), "onnxruntime")])
def test_without_openvino_fast_takes_torch_where_that_is_faster(ms, taken, monkeypatch):
    """With the real networks, and with times that are made up."""
    features = cores.cpu_features() | {"avx512_bf16"}
    monkeypatch.setattr(cores, "cpu_features", lambda: features)
    monkeypatch.setattr(OpenVinoBackend, "why_unavailable", lambda self: "not installed")
    monkeypatch.setattr(precision_proof, "paired_ms", lambda *uses: (10.0, 5.0))
    monkeypatch.setattr(proven_choice, "paired_ms", lambda *uses: ms)
    for module in (precision_proof, proven_choice):
        monkeypatch.setattr(module, "prover", lambda: f"timed {ms} against others")

    def chosen() -> FaceAnalysis:
        return load_face_analysis(model_pack="models", heads="detection", precision="fast")

    app = chosen()
    assert app.analyzer.backend.name == taken
    slower = "for fast passed over torch: it is 1.00 times as fast as onnxruntime in fp32"
    assert (slower in describe_loaded(app)) == (taken != "torch")
    # It is timed once.
    monkeypatch.setattr(proven_choice, "paired_ms", None)
    assert chosen().analyzer.backend.name == taken


def test_auto_is_fast_where_the_settings_say_so(monkeypatch):
    monkeypatch.setenv("FASTFACE_FAST", "1")
    monkeypatch.setattr(precision_proof, "paired_ms", lambda *uses: (10.0, 5.0))
    monkeypatch.setattr(precision_proof, "prover", lambda: "timed as twice as fast")
    assert loaded().analyzer.placement.precision_of("detection") == "int8"
    assert loaded(precision="fp32").analyzer.placement.precision_of("detection") == "fp32"


def test_proving_can_be_stopped(monkeypatch):
    class Stopped(Exception):
        pass

    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Stopped

    monkeypatch.setattr(host, "check_interrupted", check)
    monkeypatch.setattr(host, "is_interruption", lambda error: isinstance(error, Stopped))
    monkeypatch.setattr(precision_proof, "prover", lambda: "nothing is known of it")
    with pytest.raises(Stopped):
        loaded(precision="int8")


def test_a_wrong_folder_of_pictures_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTFACE_CALIBRATION", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match=r"FASTFACE_CALIBRATION is .*expected a folder"):
        loaded(precision="int8")
    (tmp_path / "text.jpg").write_text("no picture")
    monkeypatch.setenv("FASTFACE_CALIBRATION", str(tmp_path))
    with pytest.raises(InvalidInput, match="no picture can be read"):
        loaded(precision="int8")
