"""A second sight, and small faces looked at until they are steady: where the landmarks end up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions
from fastface.models.multiview.confirm import _crops, look_again, steady_landmarks, turned_crops
from fastface.models.multiview.types import MakeBatch
from fastface.models.multiview.views import Detections
from fastface.utils.align import arcface_template
from fastface.utils.faces import Faces
from fastface.utils.images import Images

OPTIONS = DetectionOptions()
CPU = torch.device("cpu")
#: ArcFace's points in the middle of the picture that the detector is shown, at 112 pixels.
AS_SHOWN = arcface_template(112).float() + (256 - 112) / 2


class AlwaysTheSame:
    """A detector that sees one face in each picture, at one place and size, whatever it is shown.

    Attributes:
        blind: The pictures, by number, in which it sees none.
        astray: By how much the face that it sees lies off the middle, in pixels.
        shown: Pictures so far.
    """

    def __init__(self, blind: Iterable[int] = (), astray: float = 0.0) -> None:
        self.blind, self.astray, self.shown = frozenset(blind), astray, 0

    def __call__(self, makers: Iterable[MakeBatch], options: DetectionOptions) -> list[Faces]:
        assert options.sizes_wh == ((256, 256),)
        assert options.threshold == OPTIONS.threshold / 2
        return [self._faces(len(maker().positions)) for maker in makers]

    def _faces(self, pictures: int) -> Faces:
        seen = [i for i in range(pictures) if self.shown + i not in self.blind]
        self.shown += pictures
        box = torch.tensor([78.0, 78.0, 178.0, 178.0]) + self.astray
        return Faces(
            boxes=box.expand(len(seen), 4),
            scores=torch.full((len(seen),), 0.7),
            image_index=torch.tensor(seen, dtype=torch.int64),
            image_sizes=((256, 256),) * pictures,
            landmarks=(AS_SHOWN + self.astray).expand(len(seen), 5, 2),
            image_list=tuple(seen),
        )


@pytest.fixture
def images() -> Images:
    return Images.from_bgr(np.zeros((300, 400, 3), np.uint8))


def faces_at(*centres_and_scales: tuple[float, float, float]) -> Detections:
    """Upright faces with ArcFace's landmarks: x and y of the middle, scale of 112 pixels."""
    count = len(centres_and_scales)
    template = arcface_template(112).float() - 56
    points = [torch.tensor([x, y]) + template * scale for x, y, scale in centres_and_scales]
    index = torch.zeros(count, dtype=torch.int64)
    return Detections(
        torch.zeros(count, 4), torch.ones(count), torch.stack(points), index, index, index
    )


def scaled(points: Tensor, centre: tuple[float, float], factor: float) -> Tensor:
    middle = torch.tensor(centre)
    return middle + (points - middle) * factor


def test_a_second_sight_gives_what_was_seen_in_pixels_of_the_image(images: Images):
    found = faces_at((200, 150, 0.5), (90, 80, 0.25))
    again = look_again(images, found, OPTIONS, AlwaysTheSame(), CPU)
    assert again.scores.tolist() == pytest.approx([0.7, 0.7])
    assert torch.allclose(again.landmarks, found.landmarks, atol=1e-3)


def test_what_was_asked_for_is_shown_at_all_quarter_turns(images: Images):
    found = faces_at((200, 150, 0.5), (90, 80, 0.25), (60, 200, 0.3))
    turned = torch.tensor([True, False, True])
    # After 3 upright pictures come the first and the last face, at one turn after the other.
    detector = AlwaysTheSame(blind=[0, 3, 4, 6, 8])
    again = look_again(images, found, OPTIONS, detector, CPU, turned=turned)
    assert detector.shown == 3 + 3 * 2
    assert again.scores.tolist() == pytest.approx([0, 0.7, 0.7])
    assert again.turned_scores.tolist() == pytest.approx([0.7, 0, 0])
    assert again.better_turned.tolist() == [True, False, False]
    assert again.landmarks is not None and found.landmarks is not None
    assert torch.equal(again.landmarks[0], found.landmarks[0]), "turned ones give no landmarks"


def test_turned_crops_are_the_upright_one_turned():
    random = np.random.default_rng(0)
    images = Images.from_bgr(random.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    matrix = torch.tensor([[[0.9, 0.3, -60.0], [-0.3, 0.9, 40.0]]], dtype=torch.float64)
    image = torch.zeros(1, dtype=torch.int64)
    (upright,) = _crops(images, image, matrix, CPU).pixels
    for turn in (1, 2, 3):
        (crop,) = _crops(images, image, turned_crops(matrix, turn, 256), CPU).pixels
        apart = (crop.int() - torch.rot90(upright, turn, (0, 1)).int()).abs()
        assert apart.max() <= 1, turn


def test_a_face_away_from_the_middle_is_another_one(images: Images):
    found = faces_at((200, 150, 0.5))
    again = look_again(images, found, OPTIONS, AlwaysTheSame(astray=30), CPU)
    assert again.scores.tolist() == [0] and torch.equal(again.landmarks, found.landmarks)


def test_small_faces_get_the_mean_of_all_sizes(images: Images):
    found = faces_at((200, 150, 0.5), (90, 80, 0.25), (60, 200, 0.3))
    assert found.landmarks is not None
    small = torch.tensor([True, False, True])
    # Of 2 small faces at 4 sizes, picture 3 is the last face at the second size.
    detector = AlwaysTheSame(blind=[3])
    steady = steady_landmarks(images, found, small, OPTIONS, detector, CPU)
    assert steady is not None and detector.shown == 8
    # A face of 112 pixels that is seen where one of S pixels is shown is 112 / S times as large.
    factors = [112 / side for side in (70, 84, 98, 112)]
    expected = scaled(found.landmarks[0], (200, 150), float(np.mean(factors)))
    assert torch.allclose(steady[0], expected, atol=1e-3)
    assert torch.equal(steady[1], found.landmarks[1])
    factors[1] = 1.0
    expected = scaled(found.landmarks[2], (60, 200), float(np.mean(factors)))
    assert torch.allclose(steady[2], expected, atol=1e-3)


def test_without_small_faces_nothing_is_shown(images: Images):
    found, detector = faces_at((200, 150, 2.0)), AlwaysTheSame()
    steady = steady_landmarks(images, found, torch.tensor([False]), OPTIONS, detector, CPU)
    assert detector.shown == 0 and torch.equal(steady, found.landmarks)
