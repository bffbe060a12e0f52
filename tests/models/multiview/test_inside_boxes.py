"""Faces inside boxes of others, with real weights: around heads, people, by hand, with nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions
from fastface.models.multiview.inside_boxes import BoxesOfImages
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis, load_for_pack
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs.read import read_pack
from fastface.utils.person import Person
from tests.contract.conftest import Counted, counted
from tests.photos import read_bgr

OPTIONS = DetectionOptions()

__all__ = ["counted"]  # a fixture of the contract tests


@pytest.fixture(scope="module")
def app(test_data: Path) -> FaceAnalysis:
    pytest.importorskip("onnxruntime")
    pack = read_pack("real", test_data / "models")
    return load_for_pack(pack, OPTIONS, backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module")
def analyzer(app: FaceAnalysis) -> Analyzer:
    return app.analyzer


@pytest.fixture(scope="module")
def group(test_data: Path) -> np.ndarray:
    return read_bgr(test_data / "images" / "multiface.jpg")


@pytest.fixture(scope="module")
def known(analyzer: Analyzer, group: np.ndarray) -> Faces:
    faces = analyzer.detect(Images.from_bgr(group), OPTIONS)
    assert len(faces) == 6
    return faces


def one_image(boxes: Tensor) -> BoxesOfImages:
    return BoxesOfImages(boxes.float(), (0,) * len(boxes))


def inside(
    analyzer: Analyzer, picture: np.ndarray, boxes: Tensor, options: DetectionOptions = OPTIONS
) -> tuple[Faces, list[int]]:
    return analyzer.detect_inside(Images.from_bgr(picture), one_image(boxes), options)


def same(found: Faces, known: Faces, share: float) -> bool:
    """Whether landmarks are within a share of the face's length."""
    assert found.landmarks is not None and known.landmarks is not None
    length = (known.boxes[:, 2:] - known.boxes[:, :2]).amax(1)
    off = (found.landmarks - known.landmarks).norm(dim=2).amax(1)
    return bool((off < share * length).all())


def grown(boxes: Tensor, left: float, top: float, right: float, bottom: float) -> Tensor:
    """Boxes with so many of their own sides added at each side."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    added = torch.stack((-left * width, -top * height, right * width, bottom * height), 1)
    return boxes + added


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 0, 3, 1, 4, 2], [3]])
def test_boxes_of_faces_in_their_order(
    analyzer: Analyzer, group: np.ndarray, known: Faces, order: list[int]
):
    faces, held = inside(analyzer, group, known.boxes[order])
    assert held == list(range(len(order)))
    assert same(faces, known[order], 0.06)
    assert faces.image_sizes == known.image_sizes and faces.image_list == (0,) * len(order)


@pytest.mark.parametrize(
    "sides",
    [
        (0.1, 0.4, 0.1, 0.1),  # whole heads
        (-0.15, -0.2, -0.15, -0.1),  # from eyebrows to chin, as meshes
        (0.5, 0.5, 0.5, 0.5),
    ],
)
def test_boxes_drawn_otherwise(
    analyzer: Analyzer, group: np.ndarray, known: Faces, sides: tuple[float, ...]
):
    faces, held = inside(analyzer, group, grown(known.boxes, *sides))
    assert held == list(range(6)) and same(faces, known, 0.06)


def test_boxes_of_people(analyzer: Analyzer, group: np.ndarray, known: Faces):
    people = grown(known.boxes, 0.7, 0.4, 0.7, 4.5)
    faces, held = inside(analyzer, group, people)
    assert held == list(range(6)) and same(faces, known, 0.06)


def test_two_boxes_of_one_face_and_boxes_without_a_face(
    analyzer: Analyzer, group: np.ndarray, known: Faces
):
    width = group.shape[1]
    odd = torch.tensor(
        [
            [0.0, 0, 60, 60],  # stairs
            [20, 20, 20, 90],  # no area
            [width + 5, 0, width + 90, 90],  # beside the picture
            [-90, -90, -5, -5],
            [90, 90, 20, 20],  # inside out
        ]
    )
    boxes = torch.cat((odd, known.boxes[2:3], known.boxes[2:3] + 2, known.boxes[4:5]))
    faces, held = inside(analyzer, group, boxes)
    assert held == [5, 7] and same(faces, known[[2, 4]], 0.06)


def test_no_boxes(analyzer: Analyzer, group: np.ndarray):
    faces, held = inside(analyzer, group, torch.zeros(0, 4))
    assert len(faces) == 0 and held == [] and faces.image_sizes == (group.shape[:2],)


def test_a_face_that_lies_on_its_side_is_found_with_robust(
    analyzer: Analyzer, group: np.ndarray, known: Faces
):
    height = group.shape[0]
    turned = np.ascontiguousarray(np.rot90(group))
    left, top, right, bottom = known.boxes.unbind(1)
    width = group.shape[1]
    boxes = torch.stack((top, width - right, bottom, width - left), 1)
    robust = DetectionOptions(robust=True)
    faces, held = inside(analyzer, turned, boxes, robust)
    assert held == list(range(6)) and height == turned.shape[1]
    assert faces.landmarks is not None
    upright = torch.stack((width - faces.landmarks[..., 1], faces.landmarks[..., 0]), -1)
    assert same(faces.with_fields(landmarks=upright), known, 0.1)


def test_all_boxes_of_a_batch_in_one_run(
    counted: Counted, group: np.ndarray, known: Faces, monkeypatch: pytest.MonkeyPatch
):
    rgb = torch.from_numpy(group[..., ::-1].copy())[None].expand(3, -1, -1, -1)
    boxes = BoxesOfImages(known.boxes.repeat(3, 1), (0,) * 6 + (1,) * 6 + (2,) * 6)
    faces, held = counted.analyzer.detect_inside(Images.from_comfy(rgb), boxes, OPTIONS)
    assert counted.totals() == {"detection": 18}
    assert held == list(range(18)) and faces.per_image() == [6, 6, 6]
    assert same(faces.of_image(2), known, 0.06)


def test_the_object_of_a_person_gives_that_persons(
    app: FaceAnalysis, group: np.ndarray, known: Faces
):
    person = app.for_person(Person("left to right", 2))
    images, boxes = Images.from_bgr(group), one_image(known.boxes)
    faces, held = person.analyze_boxes(images, boxes)
    assert len(faces) == 1 and held == list(range(6))
    third = known[[int(torch.argsort(known.boxes[:, 0])[2])]]
    assert same(faces, third, 0.06)


@pytest.mark.parametrize(
    "file", ["yunet_n_dynamic", "yunet_n_640_640", "retinaface_mobilenet025", "facenet-mtcnn"]
)
def test_detectors_of_other_families(
    test_data: Path, group: np.ndarray, known: Faces, file: str, tmp_path: Path
):
    if file == "facenet-mtcnn":
        pytest.importorskip("facenet_pytorch")
        app = load_face_analysis(model_pack=file, device="cpu")
    else:
        source = test_data / "detectors" / f"{file}.onnx"
        if not source.is_file():
            pytest.skip(f"{source.name} is not there")
        shutil.copy(source, tmp_path)
        pack = read_pack(file, tmp_path)
        options = DetectionOptions(threshold=pack.det_threshold, nms_threshold=pack.nms_threshold)
        app = load_for_pack(pack, options, backend="onnxruntime", device="cpu")
    for boxes in (known.boxes, grown(known.boxes, 0.7, 0.4, 0.7, 4.5)):
        faces, held = app.analyze_boxes(Images.from_bgr(group), one_image(boxes))
        # Each family puts its five points a little otherwise.
        assert held == list(range(6)) and same(faces, known, 0.12)
