"""Which networks run, when, and on how many faces."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.contract.conftest import Counted

HEADS = ("landmark_3d_68", "landmark_2d_106", "genderage", "recognition")


def test_get_runs_the_detector_alone(full_counted: Counted, crowd: np.ndarray):
    faces = full_counted.app.get(crowd)
    assert full_counted.since() == [("detection", 1)]
    assert len(faces) == 5


@pytest.mark.parametrize(
    "look",
    [
        lambda face: (face.bbox, face["kps"], face.get("det_score")),
        len,
        lambda face: list(face),
        lambda face: list(face.keys()),
        repr,
        str,
        lambda face: "embedding" in face,
        lambda face: hasattr(face, "bbox"),
        lambda face: face.liveness,
        lambda face: hasattr(face, "no_such_field"),
        bool,
    ],
    ids=[
        "place",
        "len",
        "iter",
        "keys",
        "repr",
        "str",
        "in",
        "hasattr",
        "unset",
        "missing",
        "bool",
    ],
)
def test_looking_at_a_face_runs_nothing(
    full_counted: Counted, portrait: np.ndarray, look: Callable[[Any], Any]
):
    (face,) = full_counted.app.get(portrait)
    full_counted.since()
    look(face)
    assert full_counted.since() == []


def test_all_fields_are_announced(full_counted: Counted, portrait: np.ndarray):
    (face,) = full_counted.app.get(portrait)
    assert set(face) == {
        "bbox",
        "kps",
        "det_score",
        "landmark_3d_68",
        "pose",
        "landmark_2d_106",
        "gender",
        "age",
        "embedding",
    }
    assert full_counted.totals() == {"detection": 1}


@pytest.mark.parametrize(
    ("read", "task"),
    [
        (lambda face: face.embedding, "recognition"),
        (lambda face: face["embedding"], "recognition"),
        (lambda face: face.get("embedding"), "recognition"),
        (lambda face: face.normed_embedding, "recognition"),
        (lambda face: face.embedding_norm, "recognition"),
        (lambda face: face.pop("embedding"), "recognition"),
        (lambda face: face.setdefault("embedding", None), "recognition"),
        (lambda face: face.landmark_2d_106, "landmark_2d_106"),
        (lambda face: face.landmark_3d_68, "landmark_3d_68"),
        (lambda face: face.pose, "landmark_3d_68"),
        (lambda face: face.age, "genderage"),
        (lambda face: face.gender, "genderage"),
        (lambda face: face.sex, "genderage"),
    ],
)
def test_a_field_runs_its_network_once_on_one_face(
    full_counted: Counted, crowd: np.ndarray, read: Callable[[Any], Any], task: str
):
    face = full_counted.app.get(crowd)[1]
    full_counted.since()
    assert read(face) is not None
    assert full_counted.since() == [(task, 1)]


def test_the_second_face_reads_all_the_rest_in_one_run(counted: Counted, crowd: np.ndarray):
    faces = counted.app.get(crowd)
    counted.since()
    first = faces[2].embedding
    assert faces[2].embedding is first
    assert counted.since() == [("recognition", 1)]
    embeddings = [face.embedding for face in faces]
    assert counted.since() == [("recognition", 4)]
    assert embeddings[2] is first
    for row, embedding in enumerate(embeddings):
        alone = Counted(counted.analyzer.pack.folder).app.get(crowd)[row].embedding
        assert np.allclose(alone, embedding, atol=1e-5)


def test_who_read_all_faces_of_an_image_gets_those_of_the_next_in_one_run(
    counted: Counted, crowd: np.ndarray
):
    app = counted.app
    for face in app.get(crowd):
        _ = face.embedding
    counted.since()
    mirrored = np.ascontiguousarray(crowd[:, ::-1])
    first, *others = app.get(mirrored)
    counted.since()
    _ = first.embedding
    assert counted.since() == [("recognition", 1 + len(others))]
    _ = [face.embedding for face in others]
    assert counted.since() == []
    # Each object has consumers of its own.
    other = Counted(counted.analyzer.pack.folder)
    _ = other.app.get(mirrored)[0].embedding
    assert other.since() == [("detection", 1), ("recognition", 1)]


@pytest.mark.parametrize(
    "take",
    [
        lambda face: dict(face.items()),
        lambda face: dict(zip(face.keys(), face.values(), strict=True)),
        lambda face: face.copy(),
        lambda face: dict(face),
        lambda face: {**face},
        lambda face: face | {},
        lambda face: {} | face,
        lambda face: dict(**face),
        lambda face: dict(face.popitem() for _ in range(len(face))),
        copy.copy,
        copy.deepcopy,
        lambda face: pickle.loads(pickle.dumps(face)),
        lambda face: pickle.loads(pickle.dumps(face, protocol=2)),
        lambda face: type(face)(face),
    ],
    ids=[
        "items",
        "values",
        "copy",
        "dict",
        "stars",
        "or",
        "ror",
        "keywords",
        "popitem",
        "copy.copy",
        "deepcopy",
        "pickle",
        "pickle2",
        "Face",
    ],
)
def test_taking_a_face_away_reads_everything(
    full_counted: Counted, portrait: np.ndarray, take: Callable[[Any], Any]
):
    (face,) = full_counted.app.get(portrait)
    keys = set(face)
    full_counted.since()
    taken = take(face)
    assert sorted(full_counted.since()) == sorted((task, 1) for task in HEADS)
    assert set(taken) == keys
    (other,) = full_counted.app.get(portrait)
    for key in keys:
        assert np.array_equal(taken[key], other[key]), key
        assert type(dict.__getitem__(taken, key)) in (np.ndarray, np.float32, int), key
    assert full_counted.since() == []


def test_an_unpickled_face_is_a_face(counted: Counted, portrait: np.ndarray):
    (face,) = counted.app.get(portrait)
    back = pickle.loads(pickle.dumps(face))
    assert type(back) is type(face)
    assert np.array_equal(back.normed_embedding, face.normed_embedding)
    assert back.gender is None


def test_a_face_that_was_read_holds_no_picture(counted: Counted, crowd: np.ndarray):
    """Consumers keep the faces of every frame of a video; the frames must not stay with them."""
    faces = counted.app.get(crowd)
    source = weakref.ref(faces[0]._unread[0])
    for face in faces:
        assert face.embedding is not None
    gc.collect()
    assert source() is None
