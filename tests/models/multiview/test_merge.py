from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.models.multiview.merge import (
    is_sure,
    merge,
    needs_proof,
    posture,
    together,
)
from fastface.models.multiview.views import Detections
from fastface.utils.align import arcface_template

OPTIONS = DetectionOptions()


def sighting(
    x: float,
    side: float = 100.0,
    score: float = 0.8,
    look: int = 0,
    turn: int = 0,
    roll_deg: float = 0.0,
    image: int = 0,
) -> Detections:
    """A face of a size at a place, whose landmarks are ArcFace's, turned clockwise."""
    angle = math.radians(roll_deg)
    turned = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = (arcface_template(112).float() - 56) @ turned * (side / 112)
    one = torch.ones(1, dtype=torch.int64)
    return Detections(
        torch.tensor([[x, 0.0, x + side, side]]),
        torch.tensor([score]),
        (points + torch.tensor([x + side / 2, side / 2]))[None],
        one * image,
        one * turn,
        one * look,
    )


def merged(
    parts: Sequence[Detections], again: Sequence[float] | None = None, refuted: Sequence[int] = ()
) -> list[int]:
    scores = [float(part.scores[0]) for part in parts] if again is None else again
    better_turned = torch.tensor([row in refuted for row in range(len(parts))], dtype=torch.bool)
    return merge(together(parts), torch.tensor(scores), better_turned, OPTIONS).tolist()


@pytest.mark.parametrize("roll", [0, 45, 90, 180, -90, -135])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_posture(roll: float, turn: int):
    stands = posture(sighting(0, turn=turn, roll_deg=roll))
    # Counter-clockwise quarter turns make a face upright that is turned clockwise.
    expected = abs((roll - 90 * turn + 180) % 360 - 180)
    assert stands.lean_deg.item() == pytest.approx(expected, abs=0.01)
    assert stands.procrustes_error.item() == pytest.approx(0, abs=1e-3)


def test_posture_of_what_is_no_face():
    line = sighting(0)
    assert line.landmarks is not None
    line.landmarks[0] = torch.arange(5.0)[:, None]
    assert posture(line).procrustes_error.item() > 0.5
    line.landmarks[0] = 3.0
    assert posture(line).procrustes_error.item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("score", "roll", "sure"),
    [(0.8, 0, True), (0.6, 0, False), (0.8, 60, False), (0.8, 180, False)],
)
def test_sure(score: float, roll: float, sure: bool):
    assert is_sure(sighting(0, score=score, roll_deg=roll), 0.5).tolist() == [sure]


def test_one_sure_face_an_image_needs_proof_and_none_beside_a_face_beyond_doubt():
    found = together(
        [
            sighting(0, score=0.7, image=0),
            sighting(200, score=0.72, image=0),
            sighting(0, score=0.7, image=1),
            sighting(200, score=0.9, image=1),
            sighting(0, score=0.6, image=2),
            sighting(0, score=0.9, image=3, roll_deg=180),
        ]
    )
    assert needs_proof(found, 0.5).tolist() == [False, True, False, False, False, False]
    assert needs_proof(found.at(torch.zeros(0, dtype=torch.int64)), 0.5).tolist() == []


def test_nothing_seen():
    assert merged([sighting(0).at(torch.zeros(0, dtype=torch.int64))], []) == []


def test_another_face_is_added_and_all_are_in_order():
    assert merged([sighting(0, score=0.6), sighting(500, score=0.7, look=1)]) == [1, 0]
    assert merged([sighting(0, image=1), sighting(0, look=1)]) == [1, 0]


def test_the_sighting_at_the_right_turn_wins():
    lying = sighting(0, score=0.77, roll_deg=80)
    assert merged([lying, sighting(0, score=0.75, look=1, turn=1, roll_deg=90)]) == [1]


def test_an_upright_find_is_not_displaced_by_its_sideways_part():
    part = sighting(30, side=40, score=0.66, look=1, turn=1, roll_deg=90)
    assert merged([sighting(0, score=0.62), part]) == [0]


def test_an_upright_find_that_scores_better_turned_is_displaced():
    """The landmarks of an upside-down face may make an upright one, with a score to match."""
    parts = [sighting(0, score=0.74), sighting(0, score=0.76, look=1, turn=2, roll_deg=180)]
    assert merged(parts) == [0]
    assert merged(parts, refuted=[0]) == [1]


@pytest.mark.parametrize(
    "doubtful",
    [{"roll_deg": 120.0}, {"score": 0.54}],
    ids=["not upright at its turn", "score too low"],
)
def test_what_further_looks_see_must_look_like_a_face(doubtful: dict):
    assert merged([sighting(0, look=1, **doubtful)]) == []
    assert merged([sighting(0, look=0, **doubtful)]) == [0], "the first pass has the last word"


def test_what_is_not_seen_again_is_no_face():
    assert merged([sighting(0, score=0.65, look=1)], [0.35]) == []
    assert merged([sighting(0, score=0.65, look=0)], [0.35]) == [0]


def test_two_sightings_of_one_view_stay():
    """They have been suppressed together; a small face may be in front of a large one."""
    assert merged([sighting(0, look=1), sighting(20, side=50, look=1)]) == [0, 1]
