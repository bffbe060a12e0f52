from __future__ import annotations

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect, whole_pixel_boxes
from fastface.utils import host
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.nodes.fakes import BOXES, SIZE_HW, images_with


def detect(*args, **kwargs):
    return FastFaceDetect().detect(*args, **kwargs)["result"]


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (1,), (0, 3, 1), (2, 0)])
def test_faces_masks_boxes_and_count_agree(face_analysis, counts: tuple[int, ...]):
    images = images_with(*counts)
    faces, annotated, masks, boxes, count, *_ = detect(face_analysis, images)
    assert count == len(faces) == len(boxes) == sum(counts)
    assert faces.per_image() == list(counts)
    assert masks.shape == (len(counts), *SIZE_HW) and masks.dtype == torch.float32
    assert annotated.shape == images.shape and annotated.dtype == torch.float32
    for image, number in enumerate(counts):
        assert bool(masks[image].any()) == (number > 0)
        assert torch.allclose(annotated[image], images[image], atol=1 / 255) == (number == 0)


@pytest.mark.parametrize(
    "bbox_format, expected",
    [
        ("xywh", [(10, 5, 20, 30), (0, 40, 14, 24), (40, 20, 40, 40)]),
        ("xyxy", [(10, 5, 30, 35), (0, 40, 14, 64), (40, 20, 80, 60)]),
    ],
)
def test_boxes_are_whole_and_inside(face_analysis, bbox_format: str, expected: list):
    boxes = detect(face_analysis, images_with(3), bbox_format=bbox_format)[3]
    assert boxes == expected
    assert all(isinstance(value, int) for box in boxes for value in box)


def test_no_boxes_of_no_faces():
    assert whole_pixel_boxes(Faces.empty(((10, 10),)), "xywh") == []


def test_mask_shape(face_analysis):
    box = detect(face_analysis, images_with(1), mask_shape="box")[2][0]
    ellipse = detect(face_analysis, images_with(1), mask_shape="ellipse")[2][0]
    left, top, right, bottom = map(int, BOXES[0])
    assert box[top:bottom, left:right].all() and box.sum() == (right - left) * (bottom - top)
    assert 0 < ellipse.sum() < box.sum() and (ellipse <= box).all()


def test_annotate_off_hands_the_input_through(face_analysis):
    images = images_with(2)
    assert detect(face_analysis, images, annotate=False)[1] is images


@pytest.mark.parametrize(
    "convert",
    [
        lambda images: torch.cat([images, torch.ones_like(images[..., :1])], dim=3),
        lambda images: images.half(),
        lambda images: images[..., :1],
        lambda images: (images * 255).round().byte(),
    ],
    ids=["alpha", "half", "grey", "uint8"],
)
def test_other_images(face_analysis, detector, monkeypatch, convert):
    monkeypatch.setattr(detector, "detect", lambda batch, options: Faces.empty((SIZE_HW,) * 2))
    images = images_with(1, 0)
    annotated = detect(face_analysis, convert(images))[1]
    assert annotated.shape == images.shape and annotated.dtype == torch.float32
    expected = images[..., :1].expand_as(images) if convert(images).shape[3] == 1 else images
    assert torch.allclose(annotated, expected, atol=1.1 / 255)


def test_previews_at_most_four(face_analysis, monkeypatch):
    shown = []
    monkeypatch.setattr(host, "preview", lambda pictures: shown.extend(pictures) or {"images": []})
    result = FastFaceDetect().detect(face_analysis, images_with(*[1] * 6))
    assert result["ui"] == {"text": ["6 faces in 6 images"], "images": []} and len(shown) == 4
    assert shown[0].shape == (*SIZE_HW, 3)


def test_detects_once(face_analysis, detector):
    detect(face_analysis, images_with(1, 2))
    assert detector.calls == 1


@pytest.mark.parametrize("wrong", [None, "FaceAnalysis", object()])
def test_refuses_an_object_of_another_loader(wrong: object):
    with pytest.raises(InvalidInput, match="expected the object of FastFace Loader; connect"):
        detect(wrong, images_with(1))


def test_refuses_upstream_by_name():
    upstream = pytest.importorskip("insightface.app").FaceAnalysis
    with pytest.raises(InvalidInput, match=r"got insightface\.app\.\S*FaceAnalysis on the"):
        detect(upstream.__new__(upstream), images_with(1))


def test_refuses_a_mask(face_analysis):
    with pytest.raises(InvalidInput, match="looks like a MASK"):
        detect(face_analysis, torch.zeros(1, 8, 8))


def test_stops_between_chunks(face_analysis, detector, monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupt() -> None:
        if detector.calls:
            raise Interrupted

    monkeypatch.setattr(host, "check_interrupted", interrupt)
    with pytest.raises(Interrupted):
        detect(face_analysis, images_with(*[0] * 100))
    assert detector.calls == 1


def test_progress_goes_to_the_node(face_analysis, monkeypatch):
    steps = []

    class Bar:
        def update_absolute(self, value: int, total: int | None = None) -> None:
            steps.append((value, total))

    made = []
    monkeypatch.setattr(
        host, "progress_bar", lambda total, node: made.append((total, node)) or Bar()
    )
    detect(face_analysis, images_with(*[1] * 40), node_id="12")
    assert made == [(100, "12")] and steps[-1] == (100, 100)
    shown = [done for done, _ in steps]
    assert shown == sorted(set(shown))
    detecting, drawing = ([done for done in shown if (done > 60) == late] for late in (False, True))
    assert len(detecting) >= 10 and len(drawing) >= 35
