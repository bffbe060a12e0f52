from __future__ import annotations

from typing import Any

import pytest
import torch

from fastface.nodes.embed import FastFaceEmbed
from fastface.nodes.select import FastFaceSelect
from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from tests.nodes.fakes import BOXES, images_with


@pytest.fixture
def faces(face_analysis) -> Faces:
    return FastFaceEmbed().embed(face_analysis, images_with(3, 0, 2), which="all")["result"][0]


def select(faces: Faces, **kwargs: Any) -> list[tuple[int, int]]:
    """Image and number, in `BOXES`, of each picked face."""
    picked, count, found = FastFaceSelect().select(faces, **kwargs)["result"]
    assert count == len(picked) and found == (count > 0)
    assert picked.image_sizes == faces.image_sizes
    rows = [BOXES.index([round(value) for value in box]) for box in picked.boxes.tolist()]
    return list(zip(picked.image_index.tolist(), rows, strict=True))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("largest", [(0, 2), (2, 0)]),
        ("best score", [(0, 0), (2, 0)]),
        ("left to right", [(0, 1), (2, 1)]),
        ("top to bottom", [(0, 0), (2, 0)]),
        ("nearest to the centre", [(0, 2), (2, 0)]),
        ("right to left", [(0, 2), (2, 0)]),
        ("smallest", [(0, 0), (2, 0)]),
    ],
)
def test_the_first_of_every_image(faces: Faces, by: str, expected: list):
    assert select(faces, by=by) == expected


@pytest.mark.parametrize(
    ("index", "count", "expected"),
    [
        (1, 1, [(0, 0), (2, 0)]),
        (0, 2, [(0, 1), (0, 0), (2, 1), (2, 0)]),
        (2, 1, [(0, 2)]),
        (1, 0, [(0, 0), (0, 2), (2, 0)]),
        (3, 1, []),
    ],
)
def test_index_and_count(faces: Faces, index: int, count: int, expected: list):
    assert select(faces, by="left to right", index=index, count=count) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ("0,2", [(0, 1), (0, 2), (2, 1)]),
        (" 2 , 0, 2", [(0, 2), (0, 1), (2, 1)]),
        ("7", []),
        ("", [(0, 1), (2, 1)]),
        (" , ", [(0, 1), (2, 1)]),
    ],
)
def test_places(faces: Faces, places: str, expected: list):
    assert select(faces, by="left to right", places=places) == expected


@pytest.mark.parametrize("places", ["a", "-1", "1.5", "0;2", "²"])
def test_places_that_are_none(faces: Faces, places: str):
    with pytest.raises(InvalidInput, match=r"got places .*such as 0,2"):
        select(faces, places=places)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"sex": "female"}, [(0, 0), (0, 2), (2, 0)]),
        ({"sex": "male"}, [(0, 1), (2, 1)]),
        ({"min_age": 30}, [(0, 1), (0, 2), (2, 1)]),
        ({"max_age": 30}, [(0, 0), (0, 1), (2, 0)]),
        ({"sex": "female", "min_age": 21, "max_age": 40}, [(0, 2)]),
        ({"sex": "any"}, [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]),
    ],
)
def test_sex_and_age(faces: Faces, wanted: dict, expected: list):
    known = faces.with_fields(
        gender=torch.tensor([0, 1, 0, 0, 1]), age=torch.tensor([20, 30, 40, 18, 50])
    )
    assert select(known, by="best score", count=0, **wanted) == expected


def test_sex_and_age_have_to_be_known(faces: Faces):
    with pytest.raises(InvalidInput, match="connect images and faceanalysis"):
        select(faces, sex="female")
    assert select(faces[:0], sex="female") == []


def test_no_faces(face_analysis):
    none = FastFaceEmbed().embed(face_analysis, images_with(0), which="all")["result"][0]
    for by in ("largest", "nearest to the centre"):
        assert select(none, by=by) == []
    assert select(Faces.empty(), by="largest") == []


class TestReference:
    @pytest.fixture
    def known(self, faces: Faces) -> Faces:
        rows = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [-1, 0, 0], [0.9, 0.1, 0]])
        return faces.with_fields(embeddings=rows, embedding_space="fake")

    reference = Embedding(torch.tensor([[2.0, 0.0, 0.0]]), "fake")

    def test_most_similar(self, known: Faces):
        picked = select(known, by="most similar", reference=self.reference)
        assert picked == [(0, 0), (2, 1)]

    def test_threshold(self, known: Faces):
        picked = select(known, by="most similar", reference=self.reference, threshold=0.5, count=0)
        assert picked == [(0, 0), (0, 1), (2, 1)]
        assert select(known, by="largest", reference=self.reference, threshold=0.999) == [(0, 0)]

    def test_what_can_not_be_compared_is_refused(self, known: Faces):
        with pytest.raises(InvalidInput, match="needs a reference"):
            select(known, by="most similar")
        with pytest.raises(InvalidInput, match="3 and of 2 numbers"):
            select(known, reference=Embedding(torch.ones(1, 2), "fake"))
        for wrong in (float("nan"), float("inf")):
            with pytest.raises(InvalidInput, match="NaN or infinite"):
                select(known, reference=Embedding(torch.full((1, 3), wrong), "fake"))
        with pytest.raises(InvalidInput, match="'fake' and of 'other'"):
            select(known, reference=Embedding(torch.ones(1, 3), "other"))
        with pytest.raises(InvalidInput, match="which: all"):
            bare = known.with_fields(embeddings=None, embedding_space=None)
            select(bare, reference=self.reference)


def test_unknown_order(faces: Faces):
    with pytest.raises(InvalidInput, match="'prettiest'"):
        select(faces, by="prettiest")
