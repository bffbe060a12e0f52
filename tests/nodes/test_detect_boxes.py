"""ComfyUI's own boxes and face landmarks into FastFace Detect and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from fastface.models.multiview.inside_boxes import BoxesOfImages
from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from tests.nodes.fakes import SIZE_HW, images_with

FACE = {"x": 4, "y": 2.5, "width": 20, "height": 10}
EMPTY = {"x": 1, "y": 1, "width": 2, "height": 2, "label": "hat", "score": 0.5}


@pytest.fixture
def app(face_analysis: FaceAnalysis, monkeypatch: pytest.MonkeyPatch) -> FaceAnalysis:
    """Every box that is 20 pixels wide holds a face, which fills it."""

    def analyze_boxes(images: Images, boxes: BoxesOfImages) -> tuple[Faces, list[int]]:
        held = [row for row, box in enumerate(boxes.xyxy.tolist()) if box[2] - box[0] == 20]
        images_of_faces = tuple(boxes.image[row] for row in held)
        faces = Faces(
            boxes.xyxy[held],
            torch.full((len(held),), 0.5),
            torch.tensor(images_of_faces, dtype=torch.int64),
            images.sizes_hw,
            boxes.xyxy[held][:, None, :2].repeat(1, 5, 1),
        )
        return faces, held

    monkeypatch.setattr(face_analysis, "analyze_boxes", analyze_boxes)
    return face_analysis


def detect(app: FaceAnalysis, images: torch.Tensor, **inputs: Any) -> tuple[Any, str]:
    node = NODE_CLASS_MAPPINGS["FastFaceDetect"]()
    answer = node.detect(app, images, annotate=False, **inputs)
    return answer["result"], "".join(answer["ui"]["text"])


def mesh(*boxes: dict[str, Any]) -> dict[str, Any]:
    """FACE_LANDMARKS of one image as MediaPipe's node gives them."""
    frame = [
        {
            "bbox_xyxy": np.array(
                [box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]], np.float32
            ),
            "landmarks_xy": np.zeros((478, 2), np.float32),
            "score": 0.9,
        }
        for box in boxes
    ]
    return {"frames": [frame], "image_size": SIZE_HW, "connection_sets": {}}


@pytest.mark.parametrize(
    "boxes", [FACE, [FACE], [[FACE]], [[FACE], [FACE]], ((FACE,), (FACE,)), [[FACE, EMPTY]]]
)
def test_every_form_of_bounding_boxes(app: FaceAnalysis, boxes: Any):
    (faces, _, mask, bbox, count, *_), text = detect(app, images_with(0, 0), boxes=boxes)
    assert count == 2 and faces.per_image() == [1, 1] and bbox == [(4, 2, 20, 10)] * 2
    assert mask[:, 5, 10].tolist() == [1, 1]
    assert ("left out" in text) == (EMPTY in list(boxes[0])) if isinstance(boxes, list) else True


def test_boxes_of_each_image_in_their_order(app: FaceAnalysis):
    other = FACE | {"x": 40}
    (faces, *_), text = detect(app, images_with(0, 0, 0), boxes=[[other, FACE], [], [FACE]])
    assert faces.boxes[:, 0].tolist() == [40, 4, 4] and faces.per_image() == [2, 0, 1]
    assert text == "3 faces in 2 of 3 images of 3 boxes"


def test_face_landmarks_are_boxes_too(app: FaceAnalysis):
    (faces, *_), _ = detect(app, images_with(0), face_landmarks=mesh(FACE, EMPTY))
    assert faces.boxes.tolist() == [[4, 2.5, 24, 12.5]]


def test_boxes_without_a_face_are_named(app: FaceAnalysis, caplog):
    boxes = [[EMPTY, FACE], [FACE], [FACE, EMPTY, EMPTY]]
    (faces, *_), text = detect(app, images_with(0, 0, 0), boxes=boxes)
    assert faces.per_image() == [1, 1, 1]
    assert text.splitlines()[1] == (
        "3 of 6 boxes left out, no face in them (counted from 0): box 0 of image 0; box 1-2 of "
        "image 2"
    )
    assert "3 of 6 boxes left out" in caplog.text


@pytest.mark.parametrize("boxes", [[], [[]], [[], []]])
def test_no_boxes_are_no_faces(app: FaceAnalysis, boxes: Sequence[Any]):
    (faces, _, mask, *_), text = detect(app, images_with(3, 3), boxes=boxes)
    assert len(faces) == 0 and not mask.any() and text.startswith("no face in 2 images")


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ({"boxes": [[FACE], [FACE], [FACE]]}, "boxes of 3 images, but 2 images"),
        ({"boxes": "all"}, "boxes: got 'all' among bounding boxes"),
        ({"boxes": [[FACE, None]]}, "got None among bounding boxes"),
        ({"boxes": [{"x": 1}]}, "among bounding boxes, expected boxes with x, y, width"),
        ({"boxes": [FACE | {"x": float("nan")}]}, "among bounding boxes"),
        ({"boxes": [(1, 2, 3, 4)]}, "got 1 among bounding boxes"),
        ({"face_landmarks": {"frames": 3}}, "expected face landmarks with frames"),
        ({"face_landmarks": {"frames": [[{"bbox_xyxy": [1]}]]}}, "expected face landmarks"),
        ({"boxes": [FACE], "face_landmarks": mesh(FACE)}, "got both boxes and face_landmarks"),
    ],
)
def test_what_is_none_is_refused(app: FaceAnalysis, inputs: dict[str, Any], match: str):
    with pytest.raises(InvalidInput, match=match):
        detect(app, images_with(1, 1), **inputs)


def test_bounding_boxes_come_out(face_analysis: FaceAnalysis):
    outputs, _ = detect(face_analysis, images_with(0, 2))
    boxes, again = outputs[5], [[], [{"x": 10, "y": 5, "width": 20, "height": 30}]]
    assert boxes[0] == [] and [box | again[1][0] for box in boxes[1][:1]] == boxes[1][:1]
    assert [box["label"] for box in boxes[1]] == ["face", "face"]
    assert boxes[1][0]["score"] == pytest.approx(0.9)


def test_face_landmarks_of_five_points_come_out(face_analysis: FaceAnalysis):
    outputs, _ = detect(face_analysis, images_with(0, 2))
    faces, made = outputs[0], outputs[6]
    assert made["image_size"] == SIZE_HW and [len(frame) for frame in made["frames"]] == [0, 2]
    first = made["frames"][1][0]
    assert np.array_equal(first["landmarks_xy"], faces.landmarks[0].numpy())
    assert first["landmarks_3d"].shape == (5, 3) and not first["landmarks_3d"][:, 2].any()
    assert np.array_equal(first["bbox_xyxy"], faces.boxes[0].numpy())
    first["landmarks_xy"][:] = 0
    assert faces.landmarks[0].any()
