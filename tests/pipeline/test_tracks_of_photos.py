"""Who is who in real films and in films of photos; how still and how late landmarks are.

Rates of jitter and lag are computed from landmarks, nothing is timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.timeline import TrackLine, lines_of
from fastface.utils.tracks.tracks import NO_TRACK, FilmSource, Tracks
from tests.pipeline.photo_films import (
    RATE,
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

#: The people of video.mp4, as one sees them there: frame, and x and y of the face, several times.
PEOPLE_OF_VIDEO = {
    "white hair, red scarf": [(0, 312, 657), (24, 307, 718), (47, 255, 731), (94, 264, 717)],
    "crosses in front": [(0, 332, 776), (9, 657, 814), (18, 983, 818), (35, 1669, 872)],
    "bald, turned away": [(0, 482, 628), (9, 491, 646), (15, 500, 658), (26, 515, 686)],
    "red hair": [(0, 708, 598), (26, 679, 622), (52, 587, 679), (104, 395, 666)],
    "hidden, and back after 60 frames": [(0, 887, 645), (22, 945, 690), (104, 948, 703)],
    "blue hood": [(0, 946, 675), (26, 1014, 741), (78, 862, 707), (104, 799, 700)],
    "behind them": [(0, 1105, 637), (21, 1120, 671), (61, 1097, 707), (104, 1142, 695)],
    "leaves at once": [(0, 1493, 556), (1, 1527, 562), (3, 1598, 571), (4, 1632, 577)],
    "with a telephone": [(2, 1339, 670), (45, 1379, 730), (59, 1374, 737), (86, 1356, 730)],
    "glasses": [(43, 1143, 743), (58, 1152, 733), (73, 1198, 720), (104, 1207, 714)],
    "at the column": [(66, 1532, 712), (76, 1462, 701), (91, 1351, 703), (97, 1319, 707)],
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


def test_the_eleven_people_of_a_street(app: FaceAnalysis, test_data: Path):
    """They cross, hide each other and return; hair that is taken for a face is nobody."""
    frames = read_frames(test_data / "images" / "video.mp4")
    faces = app.analyze(Images.from_comfy(torch.from_numpy(frames)), ["recognition"])
    count, size_hw = len(frames), frames.shape[1:3]
    source = FilmSource(None, (size_hw[0], size_hw[1]), 0, Fraction(RATE), "video")
    tracks = link(faces, [frame / RATE for frame in range(count)], range(count), source)
    centres = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2).numpy()
    images = np.array(faces.images_of_faces())
    of_person: dict[str, set[int]] = defaultdict(set)
    for person, places in PEOPLE_OF_VIDEO.items():
        for frame, x, y in places:
            away = np.abs(centres - (x, y)).max(1) + 1e6 * (images != frame)
            assert away.min() < 15, (person, frame)
            of_person[person].add(int(tracks.ids[int(away.argmin())]))
    assert {person: len(ids) for person, ids in of_person.items()} == dict.fromkeys(of_person, 1)
    assert set.union(*of_person.values()) == set(tracks.track_ids())
    assert len(tracks.track_ids()) == len(PEOPLE_OF_VIDEO) == 11


def read_frames(file: Path) -> np.ndarray:
    """`[B,H,W,3]` uint8 RGB."""
    video, frames = cv2.VideoCapture(str(file)), []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1].copy())
    return np.stack(frames)


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
