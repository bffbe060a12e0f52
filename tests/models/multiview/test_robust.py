"""Detection `robust` with real weights, turned photos, and the network runs it costs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.registry import get_backend
from fastface.models.multiview.robust import LOOKS
from fastface.pipeline import model_batches
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.loading import load_for_pack
from fastface.utils.images import Images
from fastface.utils.letterbox import Canvas
from fastface.utils.packs.read import read_pack

SIZES = ((128, 128), (640, 640))
AUTO, ROBUST = DetectionOptions(SIZES), DetectionOptions(SIZES, robust=True)


@pytest.fixture(scope="module")
def app(test_data: Path) -> FaceAnalysis:
    pytest.importorskip("onnxruntime")
    pack = read_pack("real", test_data / "models")
    return load_for_pack(pack, ROBUST, backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module")
def analyzer(app: FaceAnalysis) -> Analyzer:
    return app.analyzer


@pytest.fixture(scope="module")
def photo(test_data: Path) -> np.ndarray:
    image = cv2.imread(str(test_data / "images" / "rot_0.jpg"))
    assert image is not None
    return image


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, quarters))


def turned_back(points: np.ndarray, image: np.ndarray, quarters: int) -> np.ndarray:
    """Points of `turned(image, quarters)` in the image."""
    height, width = image.shape[:2]
    for quarter in range(quarters, 0, -1):
        side = width if quarter % 2 else height
        points = np.stack((side - points[..., 1], points[..., 0]), -1)
    return points


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_photo_gives_the_same_face(app: FaceAnalysis, photo: np.ndarray, quarters: int):
    (upright,) = app.get(photo)
    (face,) = app.get(turned(photo, quarters))
    between_eyes = np.linalg.norm(upright.kps[1] - upright.kps[0])
    apart = np.abs(turned_back(face.kps, photo, quarters) - upright.kps).max()
    assert apart < 0.03 * between_eyes
    assert upright.normed_embedding @ face.normed_embedding > 0.9


@pytest.mark.parametrize("angle_deg", [45, 135, 225, 315])
def test_between_quarter_turns_too(app: FaceAnalysis, photo: np.ndarray, angle_deg: int):
    """There the landmarks of the first sighting are so far off that it is another person's face."""
    (upright,) = app.get(photo)
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 0.7)
    (face,) = app.get(cv2.warpAffine(photo, matrix, (width, height)))
    between_eyes = 0.7 * np.linalg.norm(upright.kps[1] - upright.kps[0])
    expected = upright.kps @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(face.kps - expected).max() < 0.08 * between_eyes
    assert upright.normed_embedding @ face.normed_embedding > 0.93


@pytest.mark.parametrize("backend", ["torch", "insightface", "facenet"])
def test_on_every_backend(photo: np.ndarray, test_data: Path, backend: str):
    reason = get_backend(backend).why_unavailable()
    if reason:
        pytest.skip(reason)
    own = get_backend(backend).packs()
    pack = own[0] if own else read_pack("real", test_data / "models")
    options = replace(ROBUST, threshold=pack.det_threshold)
    app = load_for_pack(pack, options, backend=backend, device="cpu")
    (upright,) = app.get(photo)
    (face,) = app.get(turned(photo, 2))
    between_eyes = np.linalg.norm(upright.kps[1] - upright.kps[0])
    apart = np.abs(turned_back(face.kps, photo, 2) - upright.kps).max()
    assert apart < 0.05 * between_eyes


def test_the_photos_that_are_turned_already(app: FaceAnalysis, photo: np.ndarray, test_data: Path):
    (upright,) = app.get(photo)
    between_eyes = np.linalg.norm(upright.kps[1] - upright.kps[0])
    for angle in (90, 180, 270):
        image = cv2.imread(str(test_data / "images" / f"rot_{angle}.jpg"))
        assert image is not None
        (face,) = app.get(image)
        apart = min(
            np.abs(turned_back(face.kps, photo, quarters) - upright.kps).max()
            for quarters in (1, 2, 3)
        )
        assert apart < 0.03 * between_eyes


@pytest.mark.parametrize("place", [0, 4, 12, 18])
@pytest.mark.parametrize("side", [270, 640])
def test_a_face_upside_down_is_not_taken_for_an_upright_one(
    app: FaceAnalysis, test_data: Path, place: int, side: int
):
    """The first pass sees upright faces in these, with scores up to 0.76."""
    coded = pickle.loads((test_data / "images" / "lfw_10_pairs.bin").read_bytes(), encoding="bytes")
    face = cv2.imdecode(np.frombuffer(coded[0][place], np.uint8), cv2.IMREAD_COLOR)
    assert face is not None
    picture = np.full((640, 640, 3), face.mean((0, 1)), np.uint8)
    corner = (640 - side) // 2
    picture[corner : corner + side, corner : corner + side] = cv2.resize(face, (side, side))
    (upright,) = app.get(picture)
    between_eyes = np.linalg.norm(upright.kps[1] - upright.kps[0])
    for quarters in (1, 2, 3):
        best = app.get(turned(picture, quarters))[0]
        apart = np.abs(turned_back(best.kps, picture, quarters) - upright.kps).max()
        assert apart < 0.15 * between_eyes, quarters


def test_a_sure_face_costs_nothing_more(
    analyzer: Analyzer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    runs = counted_runs(analyzer, monkeypatch)
    expected = analyzer.detect(Images.from_bgr(photo), AUTO)
    auto, runs[:] = list(runs), []
    faces = analyzer.detect(Images.from_bgr(photo), ROBUST)
    assert torch.equal(faces.boxes, expected.boxes) and runs == auto


def test_images_of_any_sizes_together_are_as_each_alone(analyzer: Analyzer, photo: np.ndarray):
    pictures = [
        turned(photo, 1),
        photo,
        np.zeros((90, 70, 3), np.uint8),
        turned(photo, 2),
        cv2.resize(turned(photo, 2), (200, 300)),
    ]
    together = analyzer.detect(
        Images.from_comfy(
            [torch.from_numpy(picture[..., ::-1].copy())[None] for picture in pictures]
        ),
        ROBUST,
    )
    assert together.per_image() == [1, 1, 0, 1, 1]
    for place, picture in enumerate(pictures):
        alone = analyzer.detect(Images.from_bgr(picture), ROBUST)
        mine = together.of_image(place)
        assert torch.allclose(mine.boxes, alone.boxes, atol=0.05)
        assert torch.allclose(mine.scores, alone.scores, atol=1e-4)


def test_the_device_is_read_as_often_for_many_images_as_for_one(
    analyzer: Analyzer, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    reads: list[int] = []
    read = model_batches.read_together
    monkeypatch.setattr(
        model_batches, "read_together", lambda tensors: (reads.append(1), read(tensors))[1]
    )
    small = cv2.resize(turned(photo, 2), (160, 200))
    for count in (1, 3):
        reads.clear()
        batch = torch.from_numpy(small)[None].expand(count, -1, -1, -1)
        analyzer.detect(Images.from_comfy(batch), ROBUST)
        # The first pass, the wider looks, each sighting once more, and small faces until steady.
        assert len(reads) == 1 + len(LOOKS) + 2


def test_every_look_shows_all_turns_in_batches(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch):
    runs = counted_runs(analyzer, monkeypatch)
    analyzer.detect(Images.from_bgr(np.zeros((50, 60, 3), np.uint8)), ROBUST)
    assert runs == [(1, 128), (1, 640), *((len(look.turns), look.canvas_side) for look in LOOKS)]


def test_the_loops_of_other_packs_are_answered_from_what_is_known(
    app: FaceAnalysis, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    forget_results()
    runs = counted_runs(app.analyzer, monkeypatch)
    for picture, faces in ((turned(photo, 2), 1), (np.zeros((64, 64, 3), np.uint8), 0)):
        found: list[int] = []
        first_get: list[tuple[int, int]] = []
        for side in range(640, 128, -64):
            app.det_model.input_size = (side, side)
            assert app.det_model.input_size == (side, side)
            found.append(len(app.get(picture)))
            first_get = first_get or list(runs)
        assert found == [faces] * 8
        assert runs == first_get


def counted_runs(analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Images and side of every run of the detector, from now on."""
    runs: list[tuple[int, int]] = []
    session: Any = analyzer.model("detection").session  # type: ignore[union-attr]
    run = session.run

    def counted(x: torch.Tensor, canvas: Canvas) -> Any:
        runs.append((len(x), canvas.size_hw[0]))
        return run(x, canvas)

    monkeypatch.setattr(session, "run", counted)
    return runs
