from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastface.utils.choose import ORDERS
from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.person import Person

#: Image, left, top, side and score of each face; each image is 100 high and 200 wide.
PLACES = [(0, 10, 10, 20, 0.9), (0, 150, 60, 40, 0.8), (0, 80, 20, 30, 0.7), (2, 60, 60, 10, 0.6)]
SIZE_HW = (100, 200)


def faces(places: list[tuple[float, ...]] = PLACES) -> Faces:
    rows = torch.tensor(places).reshape(-1, 5)
    corner, side = rows[:, 1:3], rows[:, 3:4]
    index = rows[:, 0].long()
    return Faces(torch.cat((corner, corner + side), 1), rows[:, 4].clone(), index, (SIZE_HW,) * 3)


def embedded(rows: Tensor) -> Faces:
    """Every face is along an axis of its own."""
    some = faces()[rows]
    return some.with_fields(embeddings=torch.eye(4)[rows] * 7, embedding_space="a")


def nobody_asks(rows: Tensor) -> Faces:
    raise AssertionError("embeddings were asked for")


def towards(row: int, share: float = 1.0) -> Embedding:
    """An embedding with this cosine to a face, and the rest to another one of another image."""
    vector = torch.zeros(1, 4)
    vector[0, row], vector[0, (row + 1) % 4] = share, (1 - share**2) ** 0.5
    return Embedding(vector, "a")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("largest", [1, 3]),
        ("smallest", [0, 3]),
        ("best score", [0, 3]),
        ("left to right", [0, 3]),
        ("right to left", [1, 3]),
        ("top to bottom", [0, 3]),
        ("nearest to the centre", [2, 3]),
    ],
)
def test_orders(by: str, expected: list[int]):
    choice = Person(by).choose(faces(), nobody_asks)
    assert choice.rows.tolist() == expected and choice.is_wanted.tolist() == [True, True]


def test_first_leaves_the_others_in_their_order():
    choice = Person("right to left", keep="first").choose(faces(), nobody_asks)
    assert choice.rows.tolist() == [1, 0, 2, 3]
    assert choice.is_wanted.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("index", "only", "first"),
    [(1, [2], [2, 0, 1, 3]), (2, [1], [1, 0, 2, 3]), (3, [], [0, 1, 2, 3])],
)
def test_index(index: int, only: list[int], first: list[int]):
    person = {"by": "left to right", "index": index}
    assert Person(**person).choose(faces(), nobody_asks).rows.tolist() == only
    choice = Person(**person, keep="first").choose(faces(), nobody_asks)
    assert choice.rows.tolist() == first and choice.is_wanted.any() == bool(only)


@pytest.mark.parametrize("row", range(4))
def test_a_reference_finds_its_face_and_no_other(row: int):
    choice = Person("largest", reference=towards(row)).choose(faces(), embedded)
    assert choice.rows.tolist() == [row] and choice.best_similarity == pytest.approx(1)


def test_of_several_similar_faces_the_most_similar_is_taken_whatever_the_order():
    # 0.8 to face 0 and 0.6 to face 1, which is larger.
    person = Person("largest", reference=towards(0, 0.8))
    assert person.choose(faces(), embedded).rows.tolist() == [0]
    second = Person("largest", 1, reference=towards(0, 0.8))
    assert second.choose(faces(), embedded).rows.tolist() == [1]


@pytest.mark.parametrize(
    ("threshold", "found"), [(0.79, [0]), (0.81, []), (-1.0, [0, 3]), (1.0, [])]
)
def test_threshold(threshold: float, found: list[int]):
    person = Person(reference=towards(0, 0.8), threshold=threshold)
    choice = person.choose(faces(), embedded)
    assert choice.rows.tolist() == found and choice.best_similarity == pytest.approx(0.8)


@pytest.mark.parametrize("keep", ["only", "first"])
def test_nobody_is_like_nobody(keep: str):
    person = Person(reference=Embedding(torch.zeros(0, 4), "a"), threshold=-1, keep=keep)
    assert not person.needs_embeddings
    choice = person.choose(faces(), nobody_asks)
    assert choice.rows.tolist() == ([] if keep == "only" else [0, 1, 2, 3])
    assert not choice.is_wanted.any()


def half(*columns: slice) -> Tensor:
    mask = torch.zeros(10, 10)
    for each in columns:
        mask[:, each] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (half(slice(0, 5)), [2, 3]),  # centres at 20, 170, 95 and 65 of 200
        (half(slice(5, 10)), [1]),
        (half(), []),
        (half(slice(0, 10)), [1, 3]),
        (half(slice(0, 5)) * 0.49, []),
        (torch.ones(1, 1), [1, 3]),
        (torch.tensor([[0.0, 1.0]]), [1]),
        (torch.tensor([[1.0], [0.0]]), [2]),  # the upper half: 0 and 2, of which 2 is larger
    ],
)
def test_mask_is_laid_over_the_image(mask: Tensor, expected: list[int]):
    assert Person("largest", mask=mask).choose(faces(), nobody_asks).rows.tolist() == expected


def test_a_face_beyond_the_border_counts_as_on_it():
    beyond = faces([(0, -60.0, -40.0, 40.0, 0.9), (0, 190.0, 90.0, 40.0, 0.8)])
    mask = torch.zeros(4, 4)
    mask[0, 0] = 1
    assert Person("largest", mask=mask).choose(beyond, nobody_asks).rows.tolist() == [0]


def test_only_faces_in_the_mask_are_embedded():
    asked: list[list[int]] = []

    def embed(rows: Tensor) -> Faces:
        asked.append(rows.tolist())
        return embedded(rows)

    person = Person(reference=towards(1), mask=half(slice(0, 5)))
    assert person.choose(faces(), embed).rows.tolist() == []
    assert asked == [[0, 2, 3]]


def test_no_faces():
    choice = Person(reference=towards(0), mask=half()).choose(faces([]), nobody_asks)
    assert choice.rows.tolist() == [] and choice.best_similarity is None


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"keep": "all"}, "got keep 'all', expected one of only, first"),
        ({"by": "height"}, "got by 'height', expected one of largest"),
        ({"by": "most similar"}, "needs a reference"),
        ({"index": -1}, "got index -1"),
        ({"mask": torch.zeros(1, 4, 4)}, r"mask of shape \(1, 4, 4\)"),
        ({"mask": torch.zeros(0, 4)}, r"mask of shape \(0, 4\)"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], match: str):
    with pytest.raises(InvalidInput, match=match):
        Person(**values)


def test_another_space_is_refused():
    person = Person(reference=Embedding(torch.ones(1, 4), "b"))
    with pytest.raises(InvalidInput, match="'a' and of 'b'"):
        person.choose(faces(), embedded)


@pytest.mark.parametrize("by", ORDERS)
def test_says_who_it_is(by: str):
    person = Person(by, 2, towards(0), 0.4, half())
    assert str(person) == (
        "face 2 (counted from 0) by similarity to the reference (at least 0.4), with its centre in "
        "the mask"
    )
    if by != "most similar":
        assert str(Person(by)) == f"the first face by {by}"


def test_fingerprints_tell_persons_apart_and_last():
    persons = [
        Person(),
        Person("smallest"),
        Person(index=1),
        Person(keep="first"),
        Person(mask=half(slice(0, 5))),
        Person(mask=half(slice(0, 5)).T),
        Person(mask=half()[:5]),
        Person(reference=towards(0)),
        Person(reference=towards(1)),
        Person(reference=towards(1), threshold=0.4),
        Person(reference=Embedding(towards(1).vector, "b")),
    ]
    fingerprints = [person.fingerprint for person in persons]
    assert len(set(fingerprints)) == len(persons)
    assert Person(reference=towards(1)).fingerprint == fingerprints[8]
    assert Person(mask=half(slice(0, 5)) * 0.7).fingerprint == fingerprints[4]
