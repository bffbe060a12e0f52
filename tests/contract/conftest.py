"""The real insightface beside the drop-in object, on the same weights and photos."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch import Tensor

from fastface.backends.base import Backend, GraphBackend
from fastface.backends.interfaces import Session
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.packs import ModelFile
from fastface.utils.packs.read import read_pack
from tests.contract.random_heads import write_random_heads

Load = Callable[..., FaceAnalysis]


@pytest.fixture(scope="session")
def photo(test_data: Path) -> Callable[[str], np.ndarray]:
    """Reads a photo as OpenCV does: `[H,W,3]` uint8 BGR, a new array each time."""

    def read(name: str) -> np.ndarray:
        image = cv2.imread(str(test_data / "images" / name))
        assert image is not None, name
        return image

    return read


@pytest.fixture
def crowd(photo: Callable[[str], np.ndarray]) -> np.ndarray:
    """Five faces, of which the one of best score is not the largest: that one is covered."""
    picture = photo("multiface.jpg")
    picture[420:580, 830:980] = 0
    return picture


@pytest.fixture
def portrait(photo: Callable[[str], np.ndarray]) -> np.ndarray:
    """One face."""
    return photo("rot_0.jpg")


@pytest.fixture
def close_up(portrait: np.ndarray) -> np.ndarray:
    """The inside of the portrait's face: at 640 pixels it is larger than any anchor."""
    left, top, side = 97, 122, 136
    return np.ascontiguousarray(portrait[top : top + side, left : left + side])


@pytest.fixture
def landscape() -> np.ndarray:
    """No face."""
    rows = np.linspace(0, 255, 240, dtype=np.uint8)
    return np.repeat(np.repeat(rows[:, None, None], 320, 1), 3, 2)


@pytest.fixture
def load(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads the test data as a user loads a pack, once more with each call."""
    monkeypatch.setenv("FASTFACE_MODELS", str(test_data / "models"))

    def loaded(**choices: Any) -> FaceAnalysis:
        return load_face_analysis(
            **{"model_pack": "models", "backend": "onnxruntime", "device": "cpu", **choices}
        )

    return loaded


@pytest.fixture
def app(load: Load) -> FaceAnalysis:
    """An object of this test's own, as one loader node hands it out."""
    return load()


@pytest.fixture(scope="session")
def _upstream(test_data: Path) -> Any:
    insightface_app = pytest.importorskip("insightface.app")
    return insightface_app.FaceAnalysis(
        name=str(test_data / "models"), providers=["CPUExecutionProvider"]
    )


@pytest.fixture
def upstream(_upstream: Any) -> Any:
    """The real thing on the same files, prepared as consumers do."""
    _upstream.prepare(ctx_id=0, det_size=(640, 640))
    return _upstream


class CountedSession:
    """Notes how many images each network was given in each run."""

    def __init__(self, session: Session, task: str, runs: list[tuple[str, int]]) -> None:
        self._session, self._task, self._runs = session, task, runs
        self.device, self.runs_on = session.device, session.runs_on

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        self._runs.append((self._task, len(x)))
        return self._session.run(x)


_opened: dict[ModelFile, Session] = {}


class CountingBackend(GraphBackend):
    """Another backend, with every run of a network noted in `runs`."""

    def __init__(self, backend: Backend) -> None:
        assert isinstance(backend, GraphBackend)
        self.name = backend.name
        self.runs: list[tuple[str, int]] = []
        self._backend = backend

    def why_unavailable(self) -> str | None:
        return self._backend.why_unavailable()

    def devices(self) -> tuple[str, ...]:
        return self._backend.devices()

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        # Opened once for all tests; what they found out is kept by analyzer, so never shared.
        if model not in _opened:
            _opened[model] = self._backend.open_session(model, placement)
        return CountedSession(_opened[model], model.task, self.runs)


class Counted:
    """An object over models that nothing else uses, and what its networks did."""

    def __init__(self, folder: Path) -> None:
        self.backend = CountingBackend(get_backend("onnxruntime"))
        self.analyzer = Analyzer(read_pack("counted", folder), self.backend, Placement())
        self.app = FaceAnalysis(self.analyzer)

    def since(self) -> list[tuple[str, int]]:
        """Task and number of images of every run since the last call."""
        runs, self.backend.runs[:] = list(self.backend.runs), []
        return runs

    def totals(self) -> dict[str, int]:
        """Images by task since the last call."""
        counter: Counter[str] = Counter()
        for task, images in self.since():
            counter[task] += images
        return dict(counter)


@pytest.fixture
def counted(test_data: Path) -> Counted:
    return Counted(test_data / "models")


@pytest.fixture(scope="session")
def five_models(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of five models as antelopev2 is: real detection and recognition, random heads."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("packs") / "five"
    folder.mkdir()
    for path in (test_data / "models").glob("*.onnx"):
        shutil.copy(path, folder)
    write_random_heads(folder)
    return folder


@pytest.fixture(scope="session")
def manifest_pack(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of insightface 2.x: real detection and recognition, a small face verifier."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("manifest") / "raccoon_t"
    folder.mkdir()
    for path in (test_data / "models").glob("*.onnx"):
        shutil.copy(path, folder)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "verifier",
        [helper.make_tensor_value_info("crops", floats, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("probability", floats, ["N"])],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "verify.onnx")
    tasks = {
        "detection": {"file": "scrfd_2.5g_bnkps.onnx"},
        "recognition": {"file": "mobilefacenet.onnx"},
        "verification": {"file": "verify.onnx", "expansion": 1.5},
    }
    (folder / "MODEL.LICENSE").write_text("none needed", encoding="utf-8")
    document = {"manifest_version": 2, "model_id": "raccoon_t", "license": "MODEL.LICENSE"}
    (folder / "manifest.json").write_text(json.dumps(document | {"tasks": tasks}), encoding="utf-8")
    return folder


@pytest.fixture
def manifest_app(manifest_pack: Path, monkeypatch: pytest.MonkeyPatch) -> FaceAnalysis:
    monkeypatch.setenv("FASTFACE_MODELS", str(manifest_pack.parent))
    return load_face_analysis(model_pack="raccoon_t", backend="onnxruntime", device="cpu")


@pytest.fixture(scope="session")
def manifest_upstream(manifest_pack: Path) -> Any:
    insightface_app = pytest.importorskip("insightface.app")
    app = insightface_app.FaceAnalysis(name=str(manifest_pack), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    return app


@pytest.fixture
def full_app(five_models: Path, monkeypatch: pytest.MonkeyPatch) -> FaceAnalysis:
    monkeypatch.setenv("FASTFACE_MODELS", str(five_models.parent))
    return load_face_analysis(model_pack="five", backend="onnxruntime", device="cpu")


@pytest.fixture
def full_counted(five_models: Path) -> Counted:
    return Counted(five_models)


@pytest.fixture(scope="session")
def full_upstream(five_models: Path) -> Iterator[Any]:
    insightface_app = pytest.importorskip("insightface.app")
    app = insightface_app.FaceAnalysis(name=str(five_models), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    yield app
