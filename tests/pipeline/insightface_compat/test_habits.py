"""Whoever read all faces of the last image is expected to do so again; nobody else is."""

from __future__ import annotations

import pytest

from fastface.pipeline.insightface_compat.access_predictor import AccessPredictor


@pytest.fixture
def habits() -> AccessPredictor:
    return AccessPredictor()


def read(habits: AccessPredictor, image: str, *rows: int, task: str = "recognition") -> bool:
    """Reads rows of an image; whether all were expected to be read when the first was."""
    expected = habits.expects_all(task, image)
    for row in rows:
        habits.note(task, image, row)
    return expected


def test_nothing_is_expected_of_the_first_image(habits: AccessPredictor):
    assert not read(habits, "a", 0, 1)


def test_who_read_several_faces_is_expected_to_read_all(habits: AccessPredictor):
    read(habits, "a", 0, 1)
    assert read(habits, "b", 0, 1, 2)
    assert read(habits, "c", 2, 0)


def test_who_reads_one_is_expected_to_read_one(habits: AccessPredictor):
    read(habits, "a", 2)
    assert not read(habits, "b", 0)


def test_one_wrong_guess_is_enough(habits: AccessPredictor):
    read(habits, "a", 0, 1)
    assert read(habits, "b", 0)
    assert not read(habits, "c", 0)


def test_the_same_face_twice_is_one_face(habits: AccessPredictor):
    read(habits, "a", 1, 1, 1)
    assert not read(habits, "b", 1)


def test_tasks_have_habits_of_their_own(habits: AccessPredictor):
    read(habits, "a", 0, 1)
    assert not read(habits, "b", 0, task="genderage")


def test_an_image_tells_nothing_about_itself(habits: AccessPredictor):
    read(habits, "a", 0, 1)
    assert not habits.expects_all("recognition", "a")
