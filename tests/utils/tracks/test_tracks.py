"""What `Tracks` holds, refuses and claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.tracks.tracks import NO_TRACK, Tracks
from tests.contract.test_claims import NOT_OURS
from tests.utils.tracks.films import SOURCE, faces_of

FACES = faces_of([[(0, 0, 10, 0, 0.9)], [(0, 0, 10, 0, 0.9), (50, 0, 10, 1, 0.9)]])


def tracks_of(
    ids: Sequence[int] = (0, 0, 1),
    frames: tuple[int, ...] = (3, 7),
    times: tuple[float, ...] = (0.5, 0.5),
    faces: Faces = FACES,
) -> Tracks:
    return Tracks(faces, torch.tensor(ids, dtype=torch.int64), frames, times, SOURCE)


def test_one_line_names_the_film_and_reads_nothing():
    line = "Tracks(3 face(s) in 2 frame(s), 0.50 to 0.50 s of an IMAGE batch on cpu)"
    assert repr(tracks_of()) == line
    source = replace(SOURCE, path="/home/somebody/films/party.mp4")
    assert "of party.mp4 on cpu" in repr(replace(tracks_of(), source=source))
    assert repr(Tracks(Faces.empty(), torch.zeros(0, dtype=torch.int64), (), (), SOURCE))


def test_ids_of_tracks_leave_out_faces_of_none():
    assert tracks_of((4, NO_TRACK, 2)).track_ids() == [2, 4]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"frames": (3,)}, "got 1 frames and 2 times for faces of 2 images"),
        ({"frames": (3, 3)}, "numbers that don't rise"),
        ({"times": (1.0, 0.5)}, "seconds that fall"),
        ({"times": (1.0, float("inf"))}, "not finite"),
        ({"times": (float("nan"), 1.0)}, "seconds that fall"),
        ({"ids": (0, 0)}, r"got torch.int64 of shape \(2,\), expected int64 \[3\]"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict, said: str):
    with pytest.raises(InvalidInput, match=said):
        tracks_of(**changes)


@pytest.mark.parametrize("name", (*NOT_OURS, "get_models", "__len__", "__bool__"))
def test_it_claims_nothing_that_it_is_not(name: str):
    for each in (tracks_of(), SOURCE):
        assert not hasattr(each, name)


@pytest.mark.parametrize("changes", [{"size_hw": (0, 9)}, {"average_rate": 0}])
def test_a_film_that_can_not_be_is_refused(changes: dict):
    with pytest.raises(InvalidInput, match="expected at least 1 x 1, and more than 0"):
        replace(SOURCE, **changes)
