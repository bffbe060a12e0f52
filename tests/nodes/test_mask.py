from __future__ import annotations

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.mask import FastFaceMask
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.soft_masks import blurred
from tests.nodes.fakes import BOXES, SIZE_HW, images_with


def faces_of(face_analysis: FaceAnalysis, *counts: int) -> Faces:
    return FastFaceDetect().detect(face_analysis, images_with(*counts))["result"][0]


def test_no_face_gives_black_masks_and_empty_lists(face_analysis: FaceAnalysis):
    faces = faces_of(face_analysis, 0, 0)
    mask, bbox, bounding, drawn, each = FastFaceMask().make(faces)["result"]
    assert each == []
    assert mask.shape == (2, *SIZE_HW) and not mask.any()
    assert bbox == [] and bounding == [[], []]
    assert drawn.shape == (2, *SIZE_HW, 3) and not drawn.any()


def test_after_select_only_the_picked_faces_are_there(face_analysis: FaceAnalysis):
    images = images_with(3, 1)
    faces = faces_of(face_analysis, 3, 1)[[2, 3]]
    result = FastFaceMask().make(faces, shape="box", images=images)["result"]
    mask, bbox, bounding, drawn, each = result
    assert [tuple(box) for box in each] == bbox
    assert mask[0].sum() == 40 * 40 and mask[1].sum() == 20 * 30
    assert mask[0, 20:60, 40:80].all() and mask[1, 5:35, 10:30].all()
    assert bbox == [(40, 20, 40, 40), (10, 5, 20, 30)]
    assert bounding[0] == [
        {"x": 40, "y": 20, "width": 40, "height": 40, "label": "face", "score": 0.7}
    ]
    assert [len(boxes) for boxes in bounding] == [1, 1]
    assert drawn.shape == images.shape and not torch.equal(drawn, images)


@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_grow_moves_the_edges(face_analysis: FaceAnalysis, shape: str):
    faces = faces_of(face_analysis, 3)[[2]]
    areas = [
        float(FastFaceMask().make(faces, shape=shape, grow=grow)["result"][0].sum())
        for grow in (-20, -5, 0, 5)
    ]
    assert areas[0] == 0 and areas == sorted(areas)
    if shape == "box":
        # The image ends 4 pixels below the face.
        assert areas == [0, 30 * 30, 40 * 40, 50 * 49]


def test_blur_softens_the_edge_and_keeps_the_middle(face_analysis: FaceAnalysis):
    faces = faces_of(face_analysis, 3)[[2]]
    hard = FastFaceMask().make(faces, shape="box")["result"][0]
    soft = FastFaceMask().make(faces, shape="box", blur=3)["result"][0]
    assert soft.min() >= 0 and soft.max() <= 1
    assert soft[0, 40, 60] > 0.999 and 0.4 < soft[0, 40, 40] < 0.6
    assert float(blurred(hard, 1.0).sum()) == pytest.approx(float(hard.sum()), rel=1e-4)
    everywhere = torch.ones(1, 8, 9)
    assert torch.allclose(blurred(everywhere, 20.0), everywhere, atol=1e-5)


def test_an_outline_is_the_hull_of_the_landmarks(face_analysis: FaceAnalysis):
    faces = faces_of(face_analysis, 3)[[2]]
    with pytest.raises(InvalidInput, match=r"106 landmarks.*connect faceanalysis"):
        FastFaceMask().make(faces, shape="outline")
    corners = torch.tensor([[45.0, 25.0], [75.0, 25.0], [60.0, 55.0]])
    points = corners[torch.arange(106) % 3][None]
    outlined = faces.with_fields(landmarks_106=points)
    mask = FastFaceMask().make(outlined, shape="outline")["result"][0][0]
    assert mask[30, 60] == 1 and mask[54, 46] == 0 and mask[26, 47] == 1
    assert abs(float(mask.sum()) - 30 * 30 / 2) < 50
    grown = FastFaceMask().make(outlined, shape="outline", grow=4)["result"][0][0]
    assert grown[22, 60] == 1 and grown.sum() > mask.sum()
    shrunk = FastFaceMask().make(outlined, shape="outline", grow=-4)["result"][0][0]
    assert 0 < shrunk.sum() < mask.sum() and shrunk[26, 60] == 0
    line = faces.with_fields(landmarks_106=torch.arange(212.0).view(1, 106, 2))
    assert not FastFaceMask().make(line, shape="outline")["result"][0].any()


def test_faces_of_images_of_two_sizes_are_refused(face_analysis: FaceAnalysis):
    faces = faces_of(face_analysis, 1)
    other = Faces.empty([(10, 20)])
    mixed = faces.placed([0], [*faces.image_sizes, *other.image_sizes])
    with pytest.raises(InvalidInput, match="2 sizes"):
        FastFaceMask().make(mixed)


def test_the_boxes_of_the_fakes_are_what_the_others_count_on():
    assert BOXES[2] == [40.0, 20.0, 80.0, 60.0]
