"""What holds for any film: tracks depend on who is where, not on how faces are listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.faces import Faces
from fastface.utils.tracks.association import LONGEST_GAP_S
from fastface.utils.tracks.linking import link
from fastface.utils.tracks.tracks import NO_TRACK, Tracks
from tests.utils.properties import steady
from tests.utils.tracks.films import SOURCE, Seen, faces_of, times_of

FEW = steady(60)


@st.composite
def films(draw) -> Faces:
    """People who walk about, are seen at times, and are cut away at times."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    people, frames = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    places, sizes = rng.uniform(0, 500, (people, 2)), rng.uniform(20, 80, people)
    speeds = rng.normal(0, 4, (people, 2))
    seen: list[list[Seen]] = []
    for _ in range(frames):
        if rng.random() < 0.05:
            places = rng.uniform(0, 500, (people, 2))
        places = places + speeds
        sizes = sizes * rng.uniform(0.97, 1.03, people)
        visible = np.flatnonzero(rng.random(people) < 0.8)
        seen.append(
            [
                (*places[each].tolist(), float(sizes[each]), int(each), float(rng.uniform(0.5, 1)))
                for each in visible
            ]
        )
    return faces_of(seen, draw(st.booleans()), seed=int(rng.integers(1 << 30)))


def tracks_of(faces: Faces) -> Tracks:
    count = len(faces.image_sizes)
    return link(faces, times_of(count), range(count), SOURCE)


@FEW
@given(films(), st.randoms(use_true_random=False))
def test_the_order_of_the_faces_in_a_frame_does_not_matter(faces: Faces, random):
    order: list[int] = []
    images = faces.images_of_faces()
    for image in range(len(faces.image_sizes)):
        rows = [row for row, of in enumerate(images) if of == image]
        random.shuffle(rows)
        order += rows
    assert tracks_of(faces[order]).ids.tolist() == tracks_of(faces).ids[order].tolist()


@FEW
@given(films())
def test_ids_count_from_nought_and_no_frame_has_one_twice(faces: Faces):
    tracks = tracks_of(faces)
    assert tracks.track_ids() == list(range(len(tracks.track_ids())))
    first = [int((tracks.ids == number).nonzero()[0]) for number in tracks.track_ids()]
    images = faces.images_of_faces()
    assert [images[row] for row in first] == sorted(images[row] for row in first)
    of_frame = [
        (image, track)
        for image, track in zip(images, tracks.ids.tolist(), strict=True)
        if track != NO_TRACK
    ]
    assert len(of_frame) == len(set(of_frame))


@FEW
@given(films())
def test_linking_again_changes_nothing(faces: Faces):
    first = tracks_of(faces)
    assert torch.equal(tracks_of(first.faces).ids, first.ids)


@FEW
@given(films(), st.sampled_from([0.25, 0.5, 4.0]), st.integers(-200, 200))
def test_the_size_and_the_origin_of_the_picture_do_not_matter(
    faces: Faces, scale: float, shift: int
):
    moved = replace(faces, boxes=faces.boxes.double().mul(scale).add(shift).float())
    assert torch.equal(tracks_of(moved).ids, tracks_of(faces).ids)


@FEW
@given(films())
def test_mirrored_films_have_the_same_people(faces: Faces):
    left, top, right, bottom = faces.boxes.unbind(1)
    mirrored = replace(faces, boxes=torch.stack((640 - right, top, 640 - left, bottom), 1))
    pairs = set(zip(tracks_of(mirrored).ids.tolist(), tracks_of(faces).ids.tolist(), strict=True))
    assert len(pairs) == len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs})


@FEW
@given(films())
def test_without_embeddings_nobody_is_unseen_for_longer_than_a_second(faces: Faces):
    faces = faces.with_fields(embeddings=None, embedding_space=None)
    count = len(faces.image_sizes)
    times = np.cumsum(np.random.default_rng(len(faces)).uniform(0, 0.6, count))
    tracks = link(faces, times.tolist(), range(count), SOURCE)
    seen = times[list(faces.images_of_faces())] if len(faces) else times[:0]
    for number in tracks.track_ids():
        gaps = np.diff(seen[tracks.ids.numpy() == number])
        assert (gaps <= LONGEST_GAP_S + 1e-9).all()


@FEW
@given(films(), st.floats(0.5, 2.0))
def test_longer_embeddings_say_the_same(faces: Faces, factor: float):
    if faces.embeddings is not None:
        longer = faces.with_fields(embeddings=faces.embeddings * factor)
        assert torch.equal(tracks_of(longer).ids, tracks_of(faces).ids)


def test_ten_thousand_frames():
    """Five of seven people at a time, who come and go: each is one track."""
    rng = np.random.default_rng(0)
    frames: list[list[Seen]] = [
        [
            (100 + 80 * who + 15 * np.sin(f / 40 + who) + rng.normal(0, 0.5), 100.0, 50.0, who, 0.9)
            for who in range(7)
            if (f // 400 + who) % 7 < 5
        ]
        for f in range(10_000)
    ]
    tracks = tracks_of(faces_of(frames))
    people = [who for seen in frames for *_, who, _ in seen]
    assert len(set(zip(people, tracks.ids.tolist(), strict=True))) == 7
