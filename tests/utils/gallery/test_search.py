from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.gallery import search as search_module
from fastface.utils.gallery.contents import Gallery, with_added, with_deleted, with_renamed
from fastface.utils.gallery.search import GalleryIndex, index_of
from fastface.utils.gallery.store import GalleryStore
from tests.utils.gallery.people import SPACE, person, vectors_of

PEOPLE = 40


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return with_added(Gallery(), [person(n, 1 + n % 4) for n in range(PEOPLE)], SPACE)


def faces(vectors: torch.Tensor, space: str | None = SPACE) -> Faces:
    count = len(vectors)
    return Faces(
        torch.zeros(count, 4),
        torch.ones(count),
        torch.zeros(count, dtype=torch.int64),
        ((8, 8),),
        embeddings=vectors,
        embedding_space=space,
    )


def test_everybody_is_found(gallery: Gallery):
    index = GalleryIndex(gallery)
    queries = torch.cat([vectors_of(number, 6)[5:] for number in range(PEOPLE)])
    found = index.search(faces(queries))
    assert [matches[0].name for matches in found] == [f"person {n}" for n in range(PEOPLE)]
    assert all(0.8 < matches[0].similarity <= 1 for matches in found)


@pytest.mark.parametrize("at_once", [1, 100, 1 << 26])
def test_top_k_people_by_the_best_of_their_embeddings(
    gallery: Gallery, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search_module, "_MOST_AT_ONCE", at_once)
    queries = torch.cat([vectors_of(number, 6)[5:] for number in range(9)])
    found = GalleryIndex(gallery).search(faces(queries), 5)
    for query, matches in zip(queries, found, strict=True):
        best = {
            identity.name: float(
                torch.nn.functional.cosine_similarity(query[None], gallery.of(identity)).max()
            )
            for identity in gallery.identities
        }
        expected = sorted(best.items(), key=lambda pair: -pair[1])[:5]
        assert [match.name for match in matches] == [name for name, _ in expected]
        assert [match.similarity for match in matches] == pytest.approx(
            [value for _, value in expected], abs=1e-5
        )


def test_more_than_there_are(gallery: Gallery):
    found = GalleryIndex(gallery).search(Embedding(vectors_of(3), SPACE), 999)
    assert len(found) == 1 and len(found[0]) == PEOPLE
    assert found[0][0].name == "person 3"


def test_nobody_asks_and_nobody_is_there(gallery: Gallery):
    assert GalleryIndex(gallery).search(Embedding(torch.zeros(0, 0), None)) == []
    assert GalleryIndex(gallery).search(Faces.empty(((8, 8),))) == []
    assert GalleryIndex(Gallery()).search(faces(vectors_of(1, 2))) == [[], []]


def test_other_spaces_are_refused(gallery: Gallery):
    index = GalleryIndex(gallery)
    with pytest.raises(InvalidInput, match="can't be compared"):
        index.search(faces(vectors_of(1), "other@1"))
    with pytest.raises(InvalidInput, match="with 16 numbers"):
        index.search(faces(vectors_of(1, dim=16)))
    with pytest.raises(InvalidInput, match="without embeddings"):
        index.search(faces(vectors_of(1)).with_fields(embeddings=None, embedding_space=None))


def test_the_index_is_kept_and_never_stale(tmp_path: Path):
    store = GalleryStore(tmp_path / "a")
    store.change(lambda old: with_added(old, [person(0), person(1)], SPACE))
    first = index_of(store)
    assert index_of(GalleryStore(tmp_path / "a")) is first
    store.change(lambda old: with_renamed(old, "person 0", "Anna"))
    assert index_of(store).names == ("Anna", "person 1")
    store.change(lambda old: with_deleted(old, "Anna"))
    assert index_of(store).names == ("person 1",)
    store.undo()
    assert index_of(store).names == ("Anna", "person 1")
