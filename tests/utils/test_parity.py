"""Wrong answers are caught, right ones are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastface.utils.parity import compare, found, match


def three_faces(**changes: Any) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    corner = np.array([[10, 10], [100, 20], [200, 30]])
    faces = {
        "boxes": np.concatenate([corner, corner + 50], axis=1),
        "scores": np.array([0.9, 0.8, 0.7]),
        "landmarks": corner[:, None] + chance.random((3, 5, 2)) * 50,
        "embeddings": chance.standard_normal((3, 512)) * 20,
    }
    return found(**faces | changes)


NOTHING = found(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


def test_equal_answers_are_fit_and_so_are_no_faces_on_both_sides():
    result = compare([three_faces(), NOTHING], [three_faces(), NOTHING])
    assert result["verdict"] == "fit" and result["reasons"] == []
    assert (result["faces"], result["found"], result["matched"]) == (3, 3, 3)
    assert result["box_px"] == 0 and result["cosine"] == pytest.approx(1)


def changed(name: str, change: Any) -> dict[str, Any]:
    faces = three_faces()
    return {**faces, name: change(faces[name])}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (changed("boxes", lambda boxes: boxes + 3), "boxes off by 3.00 px"),
        (changed("landmarks", lambda points: points + 1.5), "landmarks off by 1.50 px"),
        (changed("embeddings", lambda vectors: vectors * 1.1), "10.0% longer"),
        (changed("embeddings", lambda vectors: np.roll(vectors, 1, axis=1)), "cosine"),
        (changed("embeddings", lambda vectors: vectors * np.nan), "cosine"),
        (changed("boxes", lambda boxes: boxes[::-1].copy()), "another order"),
        ({key: value[:2] for key, value in three_faces().items()}, "1 faces missed"),
        (NOTHING, "3 faces missed"),
    ],
)
def test_a_wrong_answer_is_unfit_and_says_why(wrong: dict[str, Any], word: str):
    result = compare([NOTHING, three_faces()], [NOTHING, wrong])
    assert result["verdict"] == "unfit"
    assert word in "; ".join(result["reasons"])
    assert result["worst_image"] == 1


@pytest.mark.parametrize(
    "right",
    [
        changed("boxes", lambda boxes: boxes + 1.9),
        changed("landmarks", lambda points: points - 0.9),
        changed("embeddings", lambda vectors: vectors * 1.01),
    ],
)
def test_what_is_within_the_limits_is_fit(right: dict[str, Any]):
    assert compare([three_faces()], [right])["verdict"] == "fit"


def test_an_added_face_is_unfit():
    extra = {key: np.concatenate([value, value[:1] + 400]) for key, value in three_faces().items()}
    assert "1 added" in compare([three_faces()], [extra])["reasons"][0]


def test_faces_with_next_to_equal_scores_may_change_places():
    tied = three_faces(scores=np.array([0.9, 0.899, 0.7]))
    swapped = {key: value[[1, 0, 2]] for key, value in tied.items()}
    assert compare([tied], [swapped])["verdict"] == "fit"
    apart = {key: value[[0, 2, 1]] for key, value in tied.items()}
    assert compare([tied], [apart])["reasons"] == ["faces in another order"]


def test_without_embeddings_on_one_side_boxes_are_still_compared():
    result = compare([three_faces()], [three_faces(embeddings=None)])
    assert result["verdict"] == "fit" and result["cosine"] is None


def test_pairs_are_those_that_overlap_most():
    first = np.array([[0, 0, 10, 10], [2, 0, 12, 10]])
    second = np.array([[2.1, 0, 12.1, 10], [50, 50, 60, 60], [0.2, 0, 10.2, 10]])
    ours, theirs = match(first, second)
    assert ours.tolist() == [0, 1] and theirs.tolist() == [2, 0]
