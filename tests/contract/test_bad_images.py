"""What `get` takes, and what it refuses with a reason."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.errors import InvalidInput


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((0, 0, 3), np.uint8), "shape"),
        (np.zeros((0, 64, 3), np.uint8), "shape"),
        (None, "not found or not readable"),
        ([[0, 0, 0]], "list"),
        ("photo.jpg", "str"),
        (np.zeros((64, 64, 3), np.float32), "float32.*255"),
        (np.zeros((64, 64, 3), np.uint16), "uint16"),
        (np.zeros((64, 64, 2), np.uint8), "shape"),
        (np.zeros((1, 64, 64, 3), np.uint8), "shape"),
        (np.zeros(64, np.uint8), "shape"),
    ],
    ids=[
        "empty",
        "no_rows",
        "none",
        "list",
        "path",
        "float",
        "uint16",
        "two_channels",
        "batch",
        "line",
    ],
)
def test_refuses(app: FaceAnalysis, image: Any, says: str):
    for call in (app.get, app.det_model.detect):
        with pytest.raises(InvalidInput, match=says) as refused:
            call(image)
        assert "expected" in str(refused.value)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 5000, 3), (5000, 1, 3), (1, 1), (2, 3, 4), (7, 5, 1)], ids=str
)
def test_tiny_and_thin_images_have_no_face(app: FaceAnalysis, shape: tuple[int, ...]):
    assert app.get(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize("form", ["HW", "HW1", "HWC"])
def test_grey_images_are_taken(app: FaceAnalysis, portrait: np.ndarray, form: str):
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    (expected,) = app.get(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    images = {"HW": grey, "HW1": grey[:, :, None], "HWC": np.stack([grey] * 3, -1)}
    (face,) = app.get(images[form])
    assert np.array_equal(face.bbox, expected.bbox)
    assert np.allclose(face.embedding, expected.embedding, atol=1e-4)


def test_alpha_is_ignored(app: FaceAnalysis, portrait: np.ndarray):
    (expected,) = app.get(portrait)
    random = np.random.default_rng(0).integers(0, 256, (*portrait.shape[:2], 1), np.uint8)
    (face,) = app.get(np.concatenate((portrait, random), -1))
    assert np.array_equal(face.bbox, expected.bbox)
    assert np.allclose(face.embedding, expected.embedding, atol=1e-4)


@pytest.mark.parametrize("order", ["fortran", "reversed", "sliced", "read_only"])
@pytest.mark.filterwarnings("error")
def test_any_memory_layout(app: FaceAnalysis, portrait: np.ndarray, order: str):
    (expected,) = app.get(portrait)
    wide = np.repeat(portrait, 2, 1)
    image = {
        "fortran": np.asfortranarray(portrait),
        "reversed": np.ascontiguousarray(portrait[:, :, ::-1])[:, :, ::-1],
        "sliced": wide[:, ::2],
        "read_only": portrait.copy(),
    }[order]
    image.flags.writeable = order != "read_only"
    (face,) = app.get(image)
    assert np.array_equal(face.bbox, expected.bbox)
    assert np.array_equal(face.embedding, expected.embedding)
