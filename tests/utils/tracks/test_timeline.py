"""Where a face is at any moment: where it was seen, between, in gaps, at cuts, behind the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.utils.errors import InvalidInput
from fastface.utils.tracks import MISSING
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.timeline import Shown, TrackLine, lines_of
from fastface.utils.tracks.tracks import Tracks
from tests.utils.tracks.films import RATE, SOURCE, Seen, faces_of, times_of

#: One face that is not seen in frames 4 to 6, moves 2 pixels a frame, and the film is 12 long.
GAP = range(4, 7)
FRAMES: list[list[Seen]] = [
    [] if frame in GAP or frame > 9 else [(100.0 + 2 * frame, 50.0, 40.0, 0, 0.9)]
    for frame in range(12)
]
LEFT = 0


def tracks_of(frames: list[list[Seen]], step: int = 1) -> Tracks:
    """Tracks of every `step`-th frame of a film."""
    faces = faces_of(frames[::step])
    return link(faces, times_of(len(frames))[::step], range(0, len(frames), step), SOURCE)


def line_of(tracks: Tracks, strength: float = 0.0) -> TrackLine:
    (line,) = lines_of(tracks, [0], strength)
    return line


def shown(tracks: Tracks, missing: str = "black", gap_s: float = 1.0, every: int = 1) -> Shown:
    """At all frames of the film, not only the analysed ones."""
    moments = np.arange(0, 12, every) / RATE
    return line_of(tracks).at(moments, np.array(tracks.times), missing, gap_s)


def test_where_it_was_seen_it_is():
    places = shown(tracks_of(FRAMES))
    expected = [frame not in GAP and frame < 10 for frame in range(12)]
    assert (places.rows >= 0).tolist() == expected == places.seen.tolist()
    assert np.allclose(places.boxes[:4, LEFT], 100 + 2 * np.arange(4))


def test_a_gap_is_crossed_in_a_straight_line():
    places = shown(tracks_of(FRAMES), "interpolate")
    assert (places.rows[:10] >= 0).all() and (places.rows[10:] < 0).all()
    assert np.allclose(places.boxes[:10, LEFT], 100 + 2 * np.arange(10))
    assert not places.seen[list(GAP)].any()


def test_a_gap_is_filled_with_what_was_before():
    places = shown(tracks_of(FRAMES), "previous")
    assert places.boxes[list(GAP), LEFT].tolist() == [106.0] * 3
    assert (places.rows >= 0).all()  # behind the last face, too
    assert places.boxes[10:, LEFT].tolist() == [118.0] * 2


def test_longer_gaps_stay_empty():
    short = 3 / RATE
    assert (shown(tracks_of(FRAMES), "interpolate", short).rows[list(GAP)] < 0).all()
    before = shown(tracks_of(FRAMES), "previous", 2 / RATE).rows
    assert (before[[4, 5]] >= 0).all() and before[6] < 0


@pytest.mark.parametrize("missing", MISSING)
def test_between_analysed_frames_there_is_always_a_line(missing: str):
    frames: list[list[Seen]] = [[(100.0 + 2 * frame, 50.0, 40.0, 0, 0.9)] for frame in range(12)]
    places = shown(tracks_of(frames, step=3), missing)
    assert (places.rows >= 0).all()
    assert np.allclose(places.boxes[:10, LEFT], 100 + 2 * np.arange(10))
    assert places.boxes[10:, LEFT].tolist() == [118.0] * 2  # no frame was analysed behind it


@pytest.mark.parametrize("missing", MISSING)
def test_no_line_leads_over_a_cut(missing: str):
    frames: list[list[Seen]] = [[(100.0, 50.0, 40.0, 0, 0.9)]] * 6
    frames = [*frames, [], *[[(500.0, 300.0, 40.0, 0, 0.9)]] * 5]
    places = shown(tracks_of(frames), missing)
    lefts = places.boxes[places.rows >= 0, LEFT]
    assert set(lefts.tolist()) == {100.0, 500.0}
    steady = line_of(tracks_of(frames), strength=1.0)
    assert set(np.round(steady.boxes[:, LEFT], 6).tolist()) == {100.0, 500.0}


def test_before_the_first_face_there_is_none():
    frames = [*[[]] * 3, *FRAMES[:4]]
    assert (shown(tracks_of(frames), "previous").rows[:3] < 0).all()


def test_tracks_come_in_the_order_that_was_asked_for():
    two: list[list[Seen]] = [[(10.0, 10.0, 40.0, 0, 0.9), (300.0, 10.0, 40.0, 1, 0.9)]] * 3
    tracks = tracks_of(two)
    assert [line.track for line in lines_of(tracks, [1, 7, 0], 0.0)] == [1, 0]


def test_faces_may_come_in_any_order_of_frames():
    tracks = tracks_of(FRAMES)
    order = torch.arange(len(tracks.faces)).flip(0)
    turned = Tracks(
        tracks.faces[order], tracks.ids[order], tracks.frames, tracks.times, tracks.source
    )
    assert np.array_equal(line_of(turned).boxes, line_of(tracks).boxes)


def test_other_ways_to_fill_gaps_are_refused():
    with pytest.raises(InvalidInput, match="expected one of interpolate, previous, black"):
        shown(tracks_of(FRAMES), "guess")
