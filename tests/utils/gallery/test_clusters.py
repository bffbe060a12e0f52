"""Faces into people: who is alike, who can't be one, the same whatever the order."""

from __future__ import annotations

import numpy as np
import pytest

from fastface.utils.gallery import clusters
from fastface.utils.gallery.clusters import nearest_rows, people

DIM = 64


def drawn(sizes: list[int], likeness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of people with so many faces each, two of which have about this cosine."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    own = rng.normal(size=(len(sizes), DIM))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    noise = rng.normal(size=(len(labels), DIM))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = np.sqrt(likeness) * own[labels] + np.sqrt(1 - likeness) * noise
    # As networks give them: of any length.
    return (vectors * rng.uniform(5, 30, (len(labels), 1))).astype(np.float32), labels


def grouped(vectors: np.ndarray, images=None, together=None) -> np.ndarray:
    count = len(vectors)
    images = np.arange(count) if images is None else np.asarray(images)
    together = np.full(count, -1) if together is None else np.asarray(together)
    return people(vectors, images.astype(np.int64), together.astype(np.int64))


def partition(ids: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(ids == each).tolist()) for each in np.unique(ids)}


@pytest.fixture(params=["faiss", "torch"], autouse=True)
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr(clusters, "installed_faiss", lambda: None)


def test_nobody_and_one():
    assert grouped(np.zeros((0, DIM), np.float32)).tolist() == []
    assert grouped(np.ones((1, DIM), np.float32)).tolist() == [0]


def test_everybody_is_found():
    sizes = [30, 1, 7, 2, 15, 1, 4, 9]
    vectors, labels = drawn(sizes, 0.6)
    ids = grouped(vectors)
    assert partition(ids) == partition(labels)
    # The largest comes first.
    assert np.bincount(ids).tolist() == sorted(sizes, reverse=True)


def test_average_linkage_is_what_scipy_gives():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    for seed in range(4):
        vectors, _ = drawn([5, 3, 8, 1, 2, 6], 0.42, seed)
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        apart = 1 - (units @ units.T)[np.triu_indices(len(units), 1)]
        tree = hierarchy.linkage(apart, "average")
        expected = hierarchy.fcluster(tree, 1 - clusters.SAME_PERSON, "distance")
        assert partition(grouped(vectors)) == partition(expected)


def test_the_order_does_not_matter():
    vectors, _ = drawn([12, 5, 9, 1, 3, 3, 20], 0.45)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 40, len(vectors))
    expected = partition(grouped(vectors, images))
    for _ in range(5):
        order = rng.permutation(len(vectors))
        ids = np.empty(len(vectors), np.int64)
        ids[order] = grouped(vectors[order], images[order])
        assert partition(ids) == expected


def test_of_equal_similarities_the_vectors_decide():
    angles = np.radians([-50.0, 0.0, 50.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    expected = partition(grouped(vectors))
    assert len(expected) == 2
    for order in ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        ids = np.empty(3, np.int64)
        ids[order] = grouped(vectors[order])
        assert partition(ids) == expected


def test_copies_are_one_person_in_any_number():
    vectors, labels = drawn([1, 1, 1], 0.6)
    ids = grouped(np.repeat(vectors, 40, axis=0))
    assert partition(ids) == partition(np.repeat(labels, 40))


def test_faces_beside_each_other_are_of_two_people():
    vectors, _ = drawn([6], 0.9)
    images = [0, 0, 1, 1, 2, 2]
    ids = grouped(vectors, images)
    for image in range(3):
        assert ids[2 * image] != ids[2 * image + 1]
    assert len(np.unique(grouped(vectors))) == 1


def test_who_is_alike_to_those_beside_is_not_joined_to_just_anybody():
    # Blurred faces of one picture that are all like each other, and one elsewhere that is, too.
    vectors, _ = drawn([5], 0.45)
    ids = grouped(vectors, [0, 0, 0, 0, 1])
    assert len(np.unique(ids)) == 5
    # The same in pictures of their own are taken for one person.
    assert len(np.unique(grouped(vectors, [0, 1, 2, 3, 4]))) == 1


def test_what_is_known_to_be_one_person_is():
    vectors, _ = drawn([1, 1, 1], 0.6)
    ids = grouped(vectors, together=[7, -1, 7])
    assert ids[0] == ids[2] != ids[1]
    # Though they are in one picture: of a film's track, or both named.
    ids = grouped(vectors, images=[0, 1, 0], together=[7, -1, 7])
    assert ids[0] == ids[2] != ids[1]


def test_nearest_rows_are_exact():
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=(n, 8)).astype(np.float32) for n in (2500, 40))
    values, rows = nearest_rows(vectors, queries, 5)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :5]
    assert np.array_equal(rows, expected)
    assert np.allclose(values, np.take_along_axis(queries @ vectors.T, expected, 1), atol=1e-5)
