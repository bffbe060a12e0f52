"""Stand-ins are read as the real packs are, and their detectors find as many faces as one wants."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastface.backends.onnx_graphs.graph import read_model
from fastface.benchmark.synthetic_models import packs as stand_ins
from fastface.benchmark.synthetic_models.packs import make_synthetic_pack, threshold_for
from fastface.benchmark.synthetic_models.samples import photo_like
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.errors import InvalidInput
from fastface.utils.packs.find import load_pack
from fastface.utils.packs.known import KNOWN_PACKS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TASKS = ("detection", "landmark_3d_68", "landmark_2d_106", "genderage", "recognition")


@pytest.fixture(scope="module")
def upstream(stand_in_packs: dict[str, Path]) -> Any:
    """The real insightface over buffalo_s."""
    insightface_app = pytest.importorskip("insightface.app")
    app = insightface_app.FaceAnalysis(
        name=str(stand_in_packs["buffalo_s"]), providers=["CPUExecutionProvider"]
    )
    app.prepare(ctx_id=0, det_size=(640, 640))
    return app


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """No photo, but with as much to see: `[480,640,3]` uint8 BGR."""
    # The last of four: the networks were made with the first three.
    image = photo_like(4, 640)[3].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(image[:480]).astype(np.uint8)


# Packs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "buffalo_sc", "../antelopev2"])
def test_refuses_other_packs(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="expected one of antelopev2, buffalo_l, buffalo_s"):
        make_synthetic_pack(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["buffalo_s", "antelopev2"])
def test_is_read_as_the_real_pack_is(stand_in_packs: dict[str, Path], name: str) -> None:
    pack = load_pack(stand_in_packs[name], allow_path=True)
    assert pack.name == f"{name}-random"
    assert {model.path.name for model in pack.models} == set(KNOWN_PACKS[name].files)
    assert pack.tasks == TASKS
    assert not pack.left_out
    # What the graphs of the landmarks, gender and age expect is 0..255: they scale it themselves.
    scales = {model.task: (model.mean, model.std) for model in pack.models}
    assert scales == {
        "detection": (127.5, 128.0),
        "landmark_3d_68": (0.0, 1.0),
        "landmark_2d_106": (0.0, 1.0),
        "genderage": (0.0, 1.0),
        "recognition": (127.5, 127.5),
    }


@pytest.mark.parametrize("name", ["buffalo_s", "antelopev2"])
def test_is_labelled(stand_in_packs: dict[str, Path], name: str) -> None:
    assert "random weights" in (stand_in_packs[name] / stand_ins.RANDOM_WEIGHTS_MARKER).read_text(
        encoding="utf-8"
    )
    for file in KNOWN_PACKS[name].files:
        model = read_model(stand_in_packs[name] / file)
        assert model.graph.name.endswith("-random")
        assert "random weights" in model.doc_string
        onnx.checker.check_model(model)


class Tiny:
    """Makes a small model in place of each large one."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Any:
        self.made += 1
        return onnx.ModelProto(doc_string=f"number {self.made}")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    maker = Tiny()
    monkeypatch.setattr(stand_ins, "_GRAPHS", dict.fromkeys(stand_ins._GRAPHS, maker))
    return maker


def test_is_made_once(tiny: Tiny, tmp_path: Path) -> None:
    pack = make_synthetic_pack("buffalo_s", tmp_path / "new")
    assert pack == tmp_path / "new" / "buffalo_s-random"
    assert {path.name for path in pack.iterdir()} == {
        *KNOWN_PACKS["buffalo_s"].files,
        stand_ins.RANDOM_WEIGHTS_MARKER,
    }
    assert make_synthetic_pack("buffalo_s", tmp_path / "new") == pack
    assert tiny.made == 5


def lose_a_file(pack: Path) -> None:
    (pack / "genderage.onnx").unlink()


def lose_the_marker(pack: Path) -> None:
    (pack / stand_ins.RANDOM_WEIGHTS_MARKER).unlink()


def make_it_old(pack: Path) -> None:
    (pack / stand_ins.RANDOM_WEIGHTS_MARKER).write_text("ComfyUI-FastFace stand-in, version 0\n")


@pytest.mark.parametrize("spoil", [lose_a_file, lose_the_marker, make_it_old])
def test_is_made_again(tiny: Tiny, tmp_path: Path, spoil: Any) -> None:
    pack = make_synthetic_pack("buffalo_s", tmp_path)
    spoil(pack)
    make_synthetic_pack("buffalo_s", tmp_path)
    assert tiny.made == 10
    assert (pack / "genderage.onnx").is_file()


def test_a_failed_write_leaves_nothing_half_done(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no space"):
            make_synthetic_pack("buffalo_s", tmp_path)
    assert not list((tmp_path / "buffalo_s-random").iterdir())
    make_synthetic_pack("buffalo_s", tmp_path)
    assert tiny.made == 6


# Detection ---------------------------------------------------------------------------------------


def found(app: Any, image: np.ndarray, faces: int) -> tuple[np.ndarray, np.ndarray]:
    threshold = threshold_for(app, image, faces)
    boxes, landmarks = app.det_model.detect(image, det_thresh=threshold)
    assert len(boxes) == faces
    return boxes[:, :4], landmarks


@pytest.mark.parametrize("faces", [0, 1, 6, 40])
def test_finds_so_many_moderate_boxes(upstream: Any, photo: np.ndarray, faces: int) -> None:
    boxes, landmarks = found(upstream, photo, faces)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert ((sides > 15) & (sides < 250)).all()
    assert (landmarks > boxes[:, None, :2]).all()
    assert (landmarks < boxes[:, None, 2:]).all()


def test_upstream_describes_six_faces(upstream: Any, photo: np.ndarray) -> None:
    upstream.prepare(ctx_id=0, det_thresh=threshold_for(upstream, photo, 6), det_size=(640, 640))
    faces = upstream.get(photo)
    upstream.prepare(ctx_id=0, det_size=(640, 640))
    assert len(faces) == 6
    assert set(upstream.models) == set(TASKS)
    shapes = {"embedding": (512,), "landmark_2d_106": (106, 2), "landmark_3d_68": (68, 3)}
    for face in faces:
        for field, shape in shapes.items():
            assert face[field].shape == shape
            assert np.isfinite(face[field]).all()
        assert np.abs(face.pose).max() < 90
        assert face.sex in ("M", "F")
        assert 0 <= face.age <= 100
    embeddings = np.stack([face.normed_embedding for face in faces])
    assert (embeddings @ embeddings.T - np.eye(6)).max() < 0.999


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
@pytest.mark.parametrize("detection", ["standard", "auto"])
def test_the_drop_in_finds_the_same(
    upstream: Any,
    stand_in_packs: dict[str, Path],
    photo: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    detection: str,
) -> None:
    monkeypatch.setenv("FASTFACE_MODELS", str(stand_in_packs["buffalo_s"].parent))
    app = load_face_analysis(
        model_pack="buffalo_s-random", backend=backend, device="cpu", detection=detection
    )
    upstream.prepare(ctx_id=0, det_size=(640, 640) if detection == "standard" else None)
    theirs, _ = found(upstream, photo, 6)
    upstream.prepare(ctx_id=0, det_size=(640, 640))
    assert np.abs(found(app, photo, 6)[0] - theirs).max() < 0.1


@pytest.mark.parametrize("name", ["multiface.jpg", "Stallone.jpg"])
def test_finds_six_on_a_photo(upstream: Any, test_data: Path, name: str) -> None:
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(test_data / "images" / name))
    boxes, landmarks = found(upstream, image, 6)
    assert ((landmarks > boxes[:, None, :2]) & (landmarks < boxes[:, None, 2:])).all()


def detector(*scores: float, limit: int | None = None) -> Any:
    """An object whose detector gives boxes of these scores, or the first few of them."""

    def detect(image: np.ndarray, det_thresh: float) -> tuple[np.ndarray, None]:
        passed = sorted((score for score in scores if score >= det_thresh), reverse=True)[:limit]
        return np.array([[0, 0, 9, 9, score] for score in passed]).reshape(-1, 5), None

    return SimpleNamespace(det_model=SimpleNamespace(detect=detect))


@pytest.mark.parametrize(
    ("scores", "faces", "threshold"),
    [
        ((), 0, 0.5),
        ((0.8,), 0, 0.9),
        ((0.8,), 1, 0.4),
        ((0.8, 0.6), 1, 0.7),
        ((0.8, 0.6, 0.002, 0.001), 3, 0.0015),
        ((0.8, 0.8, 0.6, 0.6), 2, 0.7),
    ],
)
def test_threshold_lies_between(scores: tuple, faces: int, threshold: float) -> None:
    assert threshold_for(detector(*scores), np.zeros((4, 4, 3)), faces) == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("scores", "faces", "limit", "message"),
    [
        ((), 1, None, "no threshold gives 1 faces .* finds 0 at most"),
        ((0.8, 0.8), 1, None, "finds 2 at most, and those it scores alike"),
        ((0.8, 0.7, 0.6), 3, 2, "finds 2 at most"),
        ((0.8,), -1, None, "got -1 faces"),
    ],
)
def test_says_when_no_threshold_does(
    scores: tuple, faces: int, limit: int | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        threshold_for(detector(*scores, limit=limit), np.zeros((4, 4, 3)), faces)
