from __future__ import annotations

import logging

import pytest
import torch

from fastface.nodes.detect import FastFaceDetect
from fastface.nodes.keypoints import FastFaceKeypoints
from fastface.nodes.texts import places
from fastface.utils.draw import draw_keypoints
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from tests.nodes.fakes import SIZE_HW, images_with


def keypoints(*args, **kwargs):
    (images,) = FastFaceKeypoints().draw(*args, **kwargs)["result"]
    return images


@pytest.mark.parametrize("counts", [(), (0,), (3,), (1, 0, 2), (0, 0)])
def test_batch_keeps_its_length(face_analysis, counts: tuple[int, ...], caplog):
    with caplog.at_level(logging.WARNING, "FastFace"):
        drawn = keypoints(face_analysis, images_with(*counts))
    assert drawn.shape == (len(counts), *SIZE_HW, 3) and drawn.dtype == torch.float32
    assert [bool(image.any()) for image in drawn] == [number > 0 for number in counts]
    black = [image for image, number in enumerate(counts) if number == 0]
    assert (f"image(s) {places(black)}: their keypoint images are black" in caplog.text) == bool(
        black
    )


def test_draws_the_largest_face(face_analysis):
    images = images_with(3)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    expected = torch.from_numpy(draw_keypoints(faces.landmarks[2].numpy(), SIZE_HW)) / 255
    assert torch.equal(keypoints(face_analysis, images)[0], expected)
    assert torch.equal(keypoints(face_analysis, images, faces=faces[[2, 0]])[0], expected)


def test_draws_only_the_faces_given(face_analysis, detector):
    images = images_with(3, 1)
    faces = FastFaceDetect().detect(face_analysis, images)["result"][0]
    calls = detector.calls
    drawn = keypoints(face_analysis, images, faces=faces[[0]])
    expected = torch.from_numpy(draw_keypoints(faces.landmarks[0].numpy(), SIZE_HW)) / 255
    assert torch.equal(drawn[0], expected) and not drawn[1].any()
    assert detector.calls == calls


def test_refuses_faces_without_landmarks(face_analysis):
    faces = Faces.empty((SIZE_HW,)).with_fields(landmarks=None)
    with pytest.raises(ModelError, match="gives no landmarks"):
        keypoints(face_analysis, images_with(1), faces=faces)


def test_refuses_an_object_of_another_loader():
    with pytest.raises(InvalidInput, match="FastFace Loader"):
        keypoints(object(), images_with(1))
