"""Who is who in films made of photos, with real networks; and how still and how late landmarks are.

Rates of jitter and lag are computed from landmarks, nothing is timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.faces import Faces
from fastface.utils.tracks.timeline import TrackLine, lines_of
from fastface.utils.tracks.tracks import NO_TRACK, Tracks
from tests.pipeline.photo_films import (
    PhotoFilm,
    Shot,
    faces_in,
    film_of,
    people_in,
    switches,
    tracks_in,
)

#: As the node has it.
DEFAULT_STRENGTH = 0.5

FILMS = {
    # The camera goes over the Solvay conference and back: all but those in the middle leave it
    # and return.
    "panned": [
        Shot("solvay.jpg", (900, 1150, 1000), (2100, 1150, 1000), 24),
        Shot("solvay.jpg", (2100, 1150, 1000), (900, 1150, 1000), 24),
    ],
    # It comes nearer to two of six people and leaves them again.
    "zoomed": [
        Shot("multiface.jpg", (600, 315, 1150), (780, 260, 480), 24),
        Shot("multiface.jpg", (780, 260, 480), (600, 315, 1150), 24),
    ],
    # Cuts between photos; each scene but one comes twice.
    "cut": [
        Shot("multiface.jpg", (330, 280, 640), (360, 290, 640), 10),
        Shot("Stallone.jpg", (110, 130, 380), (110, 130, 400), 8),
        Shot("multiface.jpg", (880, 280, 640), (850, 290, 640), 10),
        Shot("rot_0.jpg", (160, 200, 500), (165, 200, 480), 8),
        Shot("multiface.jpg", (340, 280, 600), (330, 290, 640), 10),
        Shot("Stallone.jpg", (110, 135, 300), (110, 130, 320), 8),
        Shot("solvay.jpg", (1500, 1200, 1100), (1480, 1200, 1100), 8),
        Shot("rot_0.jpg", (160, 200, 420), (165, 200, 430), 8),
    ],
}


@pytest.fixture(scope="module")
def app(test_data: Path) -> Iterator[FaceAnalysis]:
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFACE_MODELS", str(test_data / "models"))
        yield load_face_analysis(model_pack="models", backend="onnxruntime", device="cpu")


@pytest.fixture(scope="module", params=sorted(FILMS))
def seen(request, app: FaceAnalysis, test_data: Path) -> tuple[PhotoFilm, Faces]:
    film = film_of(FILMS[request.param], test_data / "images")
    return film, faces_in(film, app)


@pytest.mark.parametrize("told_of_cuts", [True, False])
def test_as_many_tracks_as_people_and_nobody_is_swapped(
    seen: tuple[PhotoFilm, Faces], told_of_cuts: bool
):
    film, faces = seen
    tracks, people = tracks_in(film, faces, told_of_cuts), people_in(film, faces)
    of_person: dict[tuple[str, int], set[int]] = defaultdict(set)
    for person, track in zip(people, tracks.ids.tolist(), strict=True):
        if track != NO_TRACK:
            of_person[person].add(track)
    assert switches(tracks, people) == 0
    assert {person: len(ids) for person, ids in of_person.items()} == dict.fromkeys(of_person, 1)
    assert len(tracks.track_ids()) == len(of_person) >= 6
    assert (tracks.ids == NO_TRACK).sum() <= len(faces) / 100


def test_without_embeddings_by_position_alone(seen: tuple[PhotoFilm, Faces]):
    film, faces = seen
    faces = faces.with_fields(embeddings=None, embedding_space=None)
    tracks, people = tracks_in(film, faces, told_of_cuts=True), people_in(film, faces)
    assert switches(tracks, people) == 0
    # Who returns is somebody new.
    assert len(set(people)) <= len(tracks.track_ids()) <= 2 * len(set(people))


def still_and_moving(app: FaceAnalysis, folder: Path, step: float) -> tuple[PhotoFilm, Tracks]:
    """Six faces for 60 frames; the camera goes `step` pixels of the photo to the right a frame."""
    shot = Shot("multiface.jpg", (600 - 30 * step, 315, 1000), (600 + 29 * step, 315, 1000), 60)
    film = film_of([shot], folder)
    return film, tracks_in(film, faces_in(film, app, embedded=False))


def landmarks_of(tracks: Tracks, strength: float) -> list[TrackLine]:
    return [
        line
        for line in lines_of(tracks, tracks.track_ids(), strength)
        if len(line.rows) == len(tracks.frames)
    ]


def test_a_still_face_shivers_a_third_at_most(app: FaceAnalysis, test_data: Path):
    _, tracks = still_and_moving(app, test_data / "images", 0)
    before, after = landmarks_of(tracks, 0.0), landmarks_of(tracks, DEFAULT_STRENGTH)
    assert len(before) == 6
    for found, steady in zip(before, after, strict=True):
        assert found.landmarks is not None and steady.landmarks is not None
        shiver = [np.std(points, axis=0).mean() for points in (found.landmarks, steady.landmarks)]
        assert shiver[1] * 3 <= shiver[0]
        steps = [np.abs(np.diff(p, axis=0)).mean() for p in (found.landmarks, steady.landmarks)]
        assert steps[1] * 3 <= steps[0]


@pytest.mark.parametrize("step", [2.0, 5.0])
def test_a_moving_face_is_followed_within_a_frame(app: FaceAnalysis, test_data: Path, step: float):
    film, tracks = still_and_moving(app, test_data / "images", step)
    lines = landmarks_of(tracks, DEFAULT_STRENGTH)
    assert len(lines) >= 3
    pixels_a_frame = -step * film.matrices[0][0, 0]
    for line in lines:
        found = landmarks_of(tracks, 0.0)[[each.track for each in lines].index(line.track)]
        assert line.landmarks is not None and found.landmarks is not None
        behind = (line.landmarks - found.landmarks)[..., 0].mean()
        assert abs(behind / pixels_a_frame) < 1
        # Nor anywhere on the way, but for the detector's own shiver.
        ends = (line.landmarks - found.landmarks)[[0, 1, -2, -1], :, 0].mean(1)
        assert np.abs(ends / pixels_a_frame).max() < 1
