from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.embed import FastFaceEmbed
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from tests.nodes.fakes import BOXES, SIZE_HW, analysis_of, images_with

AREAS = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in BOXES]


def embed(*args, **kwargs):
    return FastFaceEmbed().embed(*args, **kwargs)["result"]


@pytest.mark.parametrize("counts", [(), (0,), (0, 0)])
def test_no_face_gives_an_empty_mean(face_analysis, counts: tuple[int, ...], caplog):
    with caplog.at_level(logging.WARNING, "FastFace"):
        faces, mean = embed(face_analysis, images_with(*counts))
    assert len(faces) == 0 and faces.embeddings.shape == mean.vector.shape == (0, 3)
    assert "the mean embedding is empty" in caplog.text


@pytest.mark.parametrize(
    "which, areas", [("largest", [AREAS[2], AREAS[0]]), ("all", [*AREAS, AREAS[0]])]
)
def test_which(face_analysis, which: str, areas: list[float]):
    faces, mean = embed(face_analysis, images_with(3, 0, 1), which=which)
    assert faces.embeddings[:, 0].tolist() == areas
    assert faces.image_index.tolist()[-1] == 2 and len(faces.image_sizes) == 3
    assert mean.vector.shape == (1, 3)
    assert mean.vector[0, 0] == pytest.approx(sum(areas) / len(areas))
    assert mean.space == faces.embedding_space is not None


def test_faces_of_detect_are_not_detected_again(face_analysis, detector):
    images = images_with(3, 1)
    found = FastFaceDetect().detect(face_analysis, images)["result"][0]
    calls = detector.calls
    faces, _ = embed(face_analysis, images, which="all", faces=found[[1, 3]])
    assert detector.calls == calls
    assert faces.embeddings[:, 0].tolist() == [AREAS[1], AREAS[0]]


@pytest.mark.parametrize(
    "faces, message",
    [
        (Faces.empty((SIZE_HW, SIZE_HW)), "got faces of 2 image"),
        (Faces.empty(((10, 20),)), "image.s. of 20 x 10, but the images are 1 image.s. of 96 x 64"),
        ([1, 2], "got list on the faces input"),
    ],
)
def test_refuses_faces_of_other_images(face_analysis, faces: object, message: str):
    with pytest.raises(InvalidInput, match=message):
        embed(face_analysis, images_with(1), faces=faces)


def test_refuses_a_pack_without_a_recogniser(tmp_path: Path):
    with pytest.raises(ModelError, match="has no recognition model"):
        embed(analysis_of(("detection",), tmp_path), images_with(1))


def test_refuses_an_object_of_another_loader():
    with pytest.raises(InvalidInput, match="FastFace Loader"):
        embed(object(), torch.zeros(1, 8, 8, 3))
