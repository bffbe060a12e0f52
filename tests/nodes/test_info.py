from __future__ import annotations

import json

import pytest
import torch

from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.info import FastFaceInfo
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.nodes.fakes import images_with


@pytest.fixture
def faces(face_analysis: FaceAnalysis) -> Faces:
    return FastFaceEmbed().embed(face_analysis, images_with(2, 0, 1), which="all")["result"][0]


def test_every_face_and_every_image(faces: Faces):
    text, record, count, texts, counts = FastFaceInfo().tell(faces)["result"]
    assert count == 3 and counts == [2, 0, 1]
    assert texts[1] == "no face" and texts[2] == "0: score 0.90, box 20 x 30 at 10, 5"
    assert text.splitlines()[:2] == ["image 0", "0: score 0.90, box 20 x 30 at 10, 5"]
    first, second, third = json.loads(record)
    assert (first["image"], first["face"], second["face"], third["image"]) == (0, 0, 1, 2)
    assert first["box"] == [10.0, 5.0, 30.0, 35.0] and len(first["landmarks"]) == 5
    assert "age" not in first and "similarity" not in first


def test_what_is_known_is_told(faces: Faces):
    known = faces[[0]].with_fields(
        age=torch.tensor([41]),
        gender=torch.tensor([0]),
        pose=torch.tensor([[1.0, -20.4, 3.0]]),
    )
    text, record, *_ = FastFaceInfo().tell(known)["result"]
    assert "age 41, female, pitch 1, yaw -20, roll 3 degrees" in text
    (told,) = json.loads(record)
    assert told["age"] == 41 and told["sex"] == "female" and told["pose"]["yaw"] == -20.4


def test_similarity_to_a_reference(face_analysis: FaceAnalysis, faces: Faces):
    reference = FastFaceEmbed().embed(face_analysis, images_with(1))["result"][1]
    _, record, *_ = FastFaceInfo().tell(faces, reference=reference)["result"]
    assert json.loads(record)[0]["similarity"] == pytest.approx(1.0)


def test_no_face_at_all():
    text, record, count, texts, counts = FastFaceInfo().tell(Faces.empty([(9, 9)]))["result"]
    assert (text, record, count, texts, counts) == ("no face", "[]", 0, ["no face"], [0])


def test_images_alone_are_refused(faces: Faces):
    with pytest.raises(InvalidInput, match="images without faceanalysis"):
        FastFaceInfo().tell(faces, images=images_with(2, 0, 1))
