"""Who is who, on faces alone: people that move, cross, hide, leave, return, and are cut away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import NO_TRACK, Tracks
from tests.utils.tracks.films import SOURCE, Seen, faces_of, people_of, times_of


def linked(frames: list[list[Seen]], embedded: bool = True, **more) -> Tracks:
    faces = faces_of(frames, embedded)
    return link(faces, times_of(len(frames)), range(len(frames)), SOURCE, **more)


def partition(ids: list[int]) -> list[int]:
    """Numbers by first appearance."""
    known: dict[int, int] = {}
    return [known.setdefault(number, len(known)) for number in ids]


def assert_each_person_is_one_track(frames: list[list[Seen]], tracks: Tracks) -> None:
    assert partition(tracks.ids.tolist()) == partition(people_of(frames))


def walk(frames: int, start: float, step: float, person: int, y: float = 100) -> list[Seen]:
    return [(start + step * frame, y, 50, person, 0.9) for frame in range(frames)]


def together(*people: Sequence[Seen | None]) -> list[list[Seen]]:
    return [[face for face in seen if face] for seen in zip(*people, strict=True)]


class TestLink:
    def test_no_frames(self):
        tracks = link(Faces.empty(), [], [], SOURCE)
        assert tracks.track_ids() == [] and tracks.frames == ()

    def test_frames_without_faces(self):
        tracks = link(Faces.empty([(9, 9)] * 3), [0, 1, 2], [0, 1, 2], SOURCE)
        assert tracks.ids.tolist() == []

    @pytest.mark.parametrize("embedded", [True, False])
    def test_two_people_who_stay(self, embedded: bool):
        frames = together(walk(30, 50, 1, 0), walk(30, 400, -1, 1))
        tracks = linked(frames, embedded)
        assert_each_person_is_one_track(frames, tracks)
        assert tracks.track_ids() == [0, 1]

    @pytest.mark.parametrize("embedded", [True, False])
    def test_two_people_who_cross(self, embedded: bool):
        frames = together(walk(60, 50, 6, 0), walk(60, 410, -6, 1, y=110))
        assert_each_person_is_one_track(frames, linked(frames, embedded))

    @pytest.mark.parametrize("embedded", [True, False])
    @pytest.mark.parametrize("hidden", [5, 20])
    def test_hidden_for_up_to_a_second(self, embedded: bool, hidden: int):
        moving: list[Seen | None] = list(walk(60, 50, 2, 0))
        moving[20 : 20 + hidden] = [None] * hidden
        frames = together(moving, walk(60, 400, 0, 1))
        assert_each_person_is_one_track(frames, linked(frames, embedded))

    def test_who_leaves_and_returns_elsewhere(self):
        leaving: list[Seen | None] = [*walk(20, 50, 0, 0), *[None] * 100, *walk(20, 500, 0, 0)]
        frames = together(leaving, walk(140, 300, 0, 1))
        assert_each_person_is_one_track(frames, linked(frames))

    def test_a_cut_that_puts_another_in_the_same_place(self):
        frames = [*together(walk(20, 50, 0, 0), walk(20, 400, 0, 1))]
        frames += together(walk(20, 50, 0, 1), walk(20, 400, 0, 0))
        assert_each_person_is_one_track(frames, linked(frames))

    def test_a_cut_ends_tracks_without_embeddings(self):
        frames = together(walk(40, 50, 0, 0))
        assert linked(frames, False, cuts=[20]).ids.tolist() == [0] * 20 + [1] * 20

    def test_a_cut_that_is_none(self):
        """As where light flashes: the people are all where they were."""
        frames = together(walk(40, 50, 1, 0), walk(40, 400, -1, 1), walk(40, 200, 0, 2, y=300))
        for embedded in (True, False):
            assert_each_person_is_one_track(frames, linked(frames, embedded, cuts=[20]))

    def test_a_cut_after_which_others_are_in_the_same_places(self):
        before = together(walk(20, 50, 0, 0), walk(20, 400, 0, 1))
        after = together(walk(20, 50, 0, 2), walk(20, 400, 0, 3))
        assert_each_person_is_one_track(before + after, linked(before + after, cuts=[20]))
        assert_each_person_is_one_track(before + after, linked(before + after))

    def test_ids_count_from_the_left_of_the_first_frame(self):
        frames = together(walk(5, 400, 0, 7), walk(5, 50, 0, 3))
        assert linked(frames).ids.tolist() == [1, 0] * 5

    def test_weak_faces_go_on_with_a_track_and_begin_none_alone(self):
        seen = walk(10, 50, 0, 0)
        seen[4] = (*seen[4][:4], 0.5)
        frames = together(seen, [*[None] * 6, (400, 300, 40, 1, 0.5), *[None] * 3])
        ids = linked(frames).ids.tolist()
        assert ids[:7] == [0] * 7 and ids[7] == NO_TRACK and ids[8:] == [0] * 3

    @pytest.mark.parametrize(
        "nose_x, faces, tracks",
        [(0.5, 2, []), (0.5, 3, [0]), (0.9, 3, []), (0.9, 9, []), (0.9, 10, [0])],
    )
    def test_who_is_never_sure_needs_three_faces_that_look_ahead_or_ten(
        self, nose_x: float, faces: int, tracks: list[int]
    ):
        weak: list[Seen | None] = [(*face[:4], 0.55) for face in walk(faces, 50, 1, 0)]
        found = faces_of(together(weak))
        places = [[0.3, 0.4], [0.7, 0.4], [nose_x, 0.6], [0.35, 0.8], [0.65, 0.8]]
        sizes = (found.boxes[:, 2:] - found.boxes[:, :2])[:, None]
        found = found.with_fields(landmarks=found.boxes[:, None, :2] + torch.tensor(places) * sizes)
        assert link(found, times_of(faces), range(faces), SOURCE).track_ids() == tracks

    def test_frames_and_times_must_be_as_many_as_images(self):
        with pytest.raises(InvalidInput, match="got 2 times and 1 frame numbers"):
            link(Faces.empty([(9, 9)]), [0, 1], [0], SOURCE)
        with pytest.raises(InvalidInput, match="got cuts at"):
            link(Faces.empty([(9, 9)]), [0], [0], SOURCE, cuts=[1])
