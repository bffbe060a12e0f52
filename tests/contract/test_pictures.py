"""What unread faces hold of their pictures, and that it gives the same answers."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import cv2
import numpy as np
import pytest

from fastface.backends.residency import model_registry
from fastface.pipeline.insightface_compat.result_cache import PICTURES, forget_results
from fastface.pipeline.lifecycle import unload
from fastface.utils.crop_spec import PrecomputedCrops
from tests.contract.conftest import Counted

FIELDS = ("embedding", "landmark_2d_106", "landmark_3d_68", "pose", "gender", "age")


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    forget_results()


def held(face: Any) -> Any:
    """The image or the crops behind an unread face."""
    return face._unread[0]._images


def fields(faces: list[Any]) -> list[dict[str, np.ndarray]]:
    """Read face by face, as consumers do: first one, then all the others at once."""
    return [{name: np.array(face[name]) for name in FIELDS} for face in faces]


@pytest.mark.parametrize("leave", [PICTURES.clear, unload], ids=["put out", "unloaded"])
def test_crops_give_the_same_answers_bit_for_bit(
    full_counted: Counted, crowd: np.ndarray, leave: Any
):
    crowd = cv2.resize(crowd, None, fx=2, fy=2)
    expected = fields(full_counted.app.get(crowd))
    again = Counted(full_counted.analyzer.pack.folder)
    faces = again.app.get(crowd)
    whole = weakref.ref(held(faces[0]).sources[0])
    leave()
    assert isinstance(held(faces[0]), PrecomputedCrops)
    gc.collect()
    assert whole() is None, "the picture itself is gone"
    for one, other in zip(expected, fields(faces), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in FIELDS)


def test_a_gallery_of_faces_does_not_hold_its_pictures(
    full_counted: Counted, crowd: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FASTFACE_CACHE_CROPS", "2")
    forget_results()
    gallery = []
    for number in range(6):
        picture = cv2.resize(crowd, None, fx=2, fy=2)
        picture[0, 0] = number
        gallery.append(full_counted.app.get(picture))
    kinds = [isinstance(held(faces[0]), PrecomputedCrops) for faces in gallery]
    assert kinds == [True] * 4 + [False] * 2
    assert all(face.embedding is not None for faces in gallery for face in faces)


def test_a_picture_lighter_than_its_crops_stays(full_counted: Counted, portrait: np.ndarray):
    (face,) = full_counted.app.get(cv2.resize(portrait, (160, 200)))
    PICTURES.clear()
    assert not isinstance(held(face), PrecomputedCrops)
    assert face.embedding is not None


def test_with_no_cache_faces_hold_their_crops_at_once(
    full_counted: Counted, crowd: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FASTFACE_CACHE_CROPS", "0")
    forget_results()
    faces = full_counted.app.get(cv2.resize(crowd, None, fx=2, fy=2))
    assert isinstance(held(faces[0]), PrecomputedCrops)


def test_pictures_of_which_all_was_read_are_not_needed(counted: Counted, crowd: np.ndarray):
    for face in counted.app.get(crowd):
        assert face.embedding is not None
    PICTURES.clear()
    faces = counted.app.get(crowd)
    assert PICTURES.status().entries == 0
    assert all(face.embedding is not None for face in faces)


def test_pictures_go_when_idle_and_are_no_model(counted: Counted, crowd: np.ndarray):
    counted.app.get(crowd)
    model_registry.drop(model_registry.models(), idle_seconds=3600)
    assert PICTURES.status().entries == 1
    assert model_registry.drop([m for m in model_registry.models() if not m.name.pack]) == 0
    assert PICTURES.status().entries == 0
    assert all(model.pack for model in model_registry.loaded())


def test_models_that_make_room_for_a_face_do_not_wait_for_it(
    full_counted: Counted, crowd: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """With `batch` everything is let go within the call that reads a field of the picture."""
    monkeypatch.setenv("FASTFACE_KEEP_LOADED", "batch")
    faces = full_counted.app.get(cv2.resize(crowd, None, fx=2, fy=2))
    reading = threading.Thread(target=lambda: faces[0].embedding, daemon=True)
    reading.start()
    reading.join(60)
    assert not reading.is_alive()
    assert isinstance(held(faces[0]), PrecomputedCrops)
    assert all(face.embedding is not None for face in faces)
