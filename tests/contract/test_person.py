"""One person of a group photo, by reference, through what other packs do with the object."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.embedding import Embedding
from fastface.utils.images import Images
from fastface.utils.person import Person
from tests.contract.compare import assert_same_identity
from tests.contract.conftest import Counted, Load
from tests.contract.test_instantid import as_image, features
from tests.contract.test_ipadapter import face_id
from tests.contract.test_pulid import largest_face

PEOPLE = 6


@pytest.fixture
def group(photo: Any) -> np.ndarray:
    return photo("multiface.jpg")


def who(app: FaceAnalysis, picture: np.ndarray, number: int) -> tuple[Embedding, np.ndarray]:
    """Embedding, of a portrait of its own, and landmarks of the number-th face from the left."""
    face = sorted(app.get(picture), key=lambda face: face.bbox[0])[number]
    left, top, right, bottom = face.bbox
    margin = 0.6 * (bottom - top)
    rows = slice(max(0, int(top - margin)), int(bottom + margin))
    columns = slice(max(0, int(left - margin)), int(right + margin))
    portrait = max(app.get(np.ascontiguousarray(picture[rows, columns])), key=lambda f: f.bbox[2])
    vector = torch.from_numpy(portrait.embedding)[None]
    return Embedding(vector, app.analyzer.embedding_space), face.kps


@pytest.mark.parametrize(
    ("choices", "number"),
    [
        *(({}, number) for number in range(PEOPLE)),
        *(({"detection": "robust"}, number) for number in (0, 3)),
        ({"detection": "auto"}, 1),
        ({"backend": "torch"}, 2),
        ({"backend": "insightface"}, 4),
        ({"max_faces": 1}, 5),
    ],
)
def test_each_of_six_people_reaches_every_consumer(
    load: Load, group: np.ndarray, choices: dict[str, Any], number: int
):
    plain = load(**choices | {"max_faces": 0})
    reference, kps = who(plain, group, number)
    loaded = load(**choices)
    person = loaded.for_person(Person(reference=reference))
    image = as_image(group)
    (embedding,) = features(person, image, "embedding")
    (points,) = features(person, image, "kps")
    assert np.abs(points[0].numpy() - kps).max() < 3
    first, crop = face_id(person, group, "normed_embedding", 224)
    largest = largest_face(person, group)
    theirs = reference.vector[0].numpy()
    for each in (embedding[0].numpy(), first[0].numpy(), largest.embedding):
        cosine = each @ theirs / np.linalg.norm(each) / np.linalg.norm(theirs)
        assert cosine > 0.6
    assert crop.shape == (224, 224, 3)
    assert np.abs(largest.kps - kps).max() < 3
    ahead = loaded.for_person(Person(reference=reference, keep="first"))
    first, _ = face_id(ahead, group, "normed_embedding", 224)
    assert_same_identity(first[0].numpy(), largest.normed_embedding)
    assert len(ahead.get(group)) == (loaded.max_faces or PEOPLE)
    faces = person.analyze(Images.from_bgr(group))
    assert len(faces) == 1 and np.abs(faces.landmarks[0].cpu().numpy() - kps).max() < 3


def test_nothing_is_worked_out_twice(counted: Counted, group: np.ndarray):
    reference, _ = who(counted.app, group, 2)
    counted.app.get(group)
    counted.since()
    person = counted.app.for_person(Person(reference=reference))
    (face,) = person.get(group)
    assert counted.totals() == {"recognition": PEOPLE}
    for each in (*counted.app.get(group), face, *person.get(group)):
        assert each.embedding is not None
    assert counted.since() == []
    by_place = counted.app.for_person(Person("left to right", 1))
    by_place.get(group)
    assert counted.since() == []


def test_a_choice_by_place_runs_no_recognition(counted: Counted, group: np.ndarray):
    (face,) = counted.app.for_person(Person("left to right", 3)).get(group)
    assert counted.totals() == {"detection": 1}
    assert face.embedding is not None
    assert counted.totals() == {"recognition": 1}


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda app: pickle.loads(pickle.dumps(app))]
)
def test_copies_and_pickles_look_for_the_same_person(load: Load, group: np.ndarray, again: Any):
    app = load()
    reference, kps = who(app, group, 4)
    mask = torch.ones(4, 4)
    twin = again(app.for_person(Person(reference=reference, mask=mask)))
    (face,) = twin.get(group)
    assert np.abs(face.kps - kps).max() < 3


def test_the_person_is_the_objects_own(load: Load, group: np.ndarray):
    app = load()
    chosen = app.for_person(Person("left to right"))
    chosen.det_model.input_size = (192, 192)
    chosen.get = lambda img: []  # type: ignore[method-assign]
    assert len(app.get(group)) == PEOPLE and app.det_size == (640, 640)
