"""The same picture is analysed once, and nobody can spoil the answer for the next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from tests.contract.conftest import Counted

HEADS = ("landmark_3d_68", "landmark_2d_106", "genderage", "recognition")


def fields(face: Any) -> dict[str, np.ndarray]:
    return {key: np.array(value) for key, value in face.copy().items()}


def test_the_same_picture_again_runs_nothing(full_counted: Counted, crowd: np.ndarray):
    first = [fields(face) for face in full_counted.app.get(crowd)]
    full_counted.since()
    again = [fields(face) for face in full_counted.app.get(crowd.copy())]
    assert full_counted.since() == []
    for old, new in zip(first, again, strict=True):
        assert old.keys() == new.keys()
        assert all(np.array_equal(old[key], new[key]) for key in old)


def test_one_pixel_makes_another_picture(counted: Counted, crowd: np.ndarray):
    counted.app.get(crowd)
    crowd[0, 0, 0] ^= 1
    counted.app.get(crowd)
    assert counted.totals() == {"detection": 2}


def test_the_same_bytes_in_another_shape_are_another_picture(counted: Counted):
    pixels = np.zeros(64 * 96 * 3, dtype=np.uint8)
    for shape in ((64, 96, 3), (96, 64, 3), (64, 288), (64, 72, 4)):
        counted.app.get(pixels.reshape(shape))
    assert counted.totals() == {"detection": 4}


def test_answers_are_fresh_objects(counted: Counted, portrait: np.ndarray):
    (first,), (second,) = counted.app.get(portrait), counted.app.get(portrait)
    assert first is not second
    for key in ("bbox", "kps", "embedding"):
        assert first[key] is not second[key]
        assert not np.shares_memory(first[key], second[key])
        assert first[key].flags.writeable and first[key].flags.owndata


def test_writing_to_an_answer_changes_no_other(full_counted: Counted, portrait: np.ndarray):
    (face,) = full_counted.app.get(portrait)
    before = fields(face)
    for key in ("bbox", "kps", "embedding", "landmark_2d_106", "landmark_3d_68", "pose"):
        face[key][:] = -1
    face["age"] = 1000
    face.bbox = None
    del face["gender"]
    face.note = "mine"
    after = fields(full_counted.app.get(portrait)[0])
    assert after.keys() == before.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_writing_before_reading_changes_no_other(counted: Counted, portrait: np.ndarray):
    """A consumer that moves the landmarks of its face does not move where others are embedded."""
    (face,) = counted.app.get(portrait)
    face.kps += 30
    face["bbox"][:] = 0
    moved = face.embedding
    (other,) = counted.app.get(portrait)
    assert np.array_equal(moved, other.embedding)


def test_writing_to_detections_changes_no_other(counted: Counted, portrait: np.ndarray):
    boxes, points = counted.app.det_model.detect(portrait)
    kept = boxes.copy(), points.copy()
    boxes[:], points[:] = 0, 0
    again = counted.app.det_model.detect(portrait)
    assert np.array_equal(again[0], kept[0]) and np.array_equal(again[1], kept[1])


@pytest.mark.parametrize("view", [False, True], ids=["array", "view"])
def test_drawing_on_the_picture_before_reading_changes_nothing(
    counted: Counted, portrait: np.ndarray, view: bool
):
    picture = portrait[:, ::-1] if view else portrait
    expected = Counted(counted.analyzer.pack.folder).app.get(picture.copy())[0].embedding
    (face,) = counted.app.get(picture)
    picture[:] = 0
    assert np.array_equal(face.embedding, expected)
    assert counted.app.get(picture) == []


def test_threads_that_ask_for_one_picture_at_once_run_the_networks_once(
    full_counted: Counted, crowd: np.ndarray
):
    together = threading.Barrier(8, timeout=60)

    def work(number: int) -> list[dict[str, np.ndarray]]:
        app = FaceAnalysis(full_counted.analyzer)
        together.wait()
        return [fields(face) for face in app.get(crowd.copy())]

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(work, range(8))
    faces = len(first)
    assert full_counted.totals() == {"detection": 1} | dict.fromkeys(HEADS, faces)
    for other in others:
        for one, another in zip(first, other, strict=True):
            assert all(np.array_equal(one[key], another[key]) for key in one)


def test_another_object_over_the_same_models_shares_the_answers(
    counted: Counted, portrait: np.ndarray
):
    for app in (counted.app, FaceAnalysis(counted.analyzer)):
        assert app.get(portrait)[0].embedding is not None
    assert counted.totals() == {"detection": 1, "recognition": 1}
