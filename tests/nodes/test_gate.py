from __future__ import annotations

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.gate import FastFaceGate
from fastface.utils import host
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.nodes.fakes import images_with


def part(images: torch.Tensor, faces: Faces) -> tuple:
    return FastFaceGate().part(images, faces)["result"]


@pytest.mark.parametrize("counts", [(1, 0, 3, 0), (0, 0), (2,), ()])
def test_images_are_parted(face_analysis, counts: tuple[int, ...]):
    images = images_with(*counts)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    there, absent, of_there, has_face, indices = part(images, faces)
    with_faces = [place for place, count in enumerate(counts) if count]
    without = [place for place, count in enumerate(counts) if not count]
    assert indices == with_faces and has_face == bool(with_faces)
    assert torch.equal(there, images[with_faces]) and torch.equal(absent, images[without])
    assert of_there.per_image() == [count for count in counts if count]
    assert torch.equal(of_there.boxes, faces.boxes)
    assert len(of_there.image_sizes) == len(with_faces)


def test_what_lies_behind_an_empty_output_is_left_out(face_analysis, monkeypatch):
    monkeypatch.setattr(host, "blocked", lambda instead: ("blocked", len(instead)))
    for counts, empty in (((0, 0), 0), ((1, 2), 1)):
        images = images_with(*counts)
        faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
        parted = part(images, faces)
        assert parted[empty] == ("blocked", 0) and parted[1 - empty] is images


def test_faces_of_other_images(face_analysis):
    faces = FastFaceDetect().detect(face_analysis, images_with(1))["result"][0]
    with pytest.raises(InvalidInput, match="connect the images"):
        FastFaceGate().part(images_with(1, 1), faces)


def test_a_list_without_an_entry_is_blocked(face_analysis, monkeypatch):
    monkeypatch.setattr(host, "blocked", lambda instead: ("blocked", len(instead)))
    images = images_with(0, 0)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    *_, has_face, indices = part(images, faces)
    assert indices == ("blocked", 0) and has_face is False


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((1, 0, 0, 3, 0), "2 of 5 images have a face; left out: 1-2, 4"),
        ((0,), "no face in 1 image: nothing goes on behind with_faces"),
        ((1, 2), "a face in all of 2 images: nothing goes on behind without_faces"),
    ],
)
def test_says_what_it_left_out(face_analysis, counts: tuple[int, ...], text: str):
    images = images_with(*counts)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    assert FastFaceGate().part(images, faces)["ui"] == {"text": [text]}
