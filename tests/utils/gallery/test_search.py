from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces
from fastface.utils.gallery import search as search_module
from fastface.utils.gallery.contents import (
    Gallery,
    Identity,
    Sample,
    with_added,
    with_deleted,
    with_renamed,
)
from fastface.utils.gallery.gallery_store import GalleryStore
from fastface.utils.gallery.search import GalleryIndex, index_of
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


def random_people(count: int, groups: int, dim: int = 64) -> tuple[Gallery, torch.Tensor]:
    """A gallery of one embedding each, and another photo of everybody: cosines of about 0.6.

    People of one group are alike, as inverted lists need it.
    """
    generator = torch.Generator().manual_seed(count)
    centres = torch.randn(groups, dim, generator=generator)
    own = centres[torch.arange(count) % groups] * 2 + torch.randn(count, dim, generator=generator)
    other = own + 0.8 * torch.randn(count, dim, generator=generator)
    identities = tuple(Identity(f"{row}", (Sample(row),)) for row in range(count))
    return Gallery(identities, own, SPACE), other


@pytest.mark.parametrize(
    ("count", "groups", "is_listed"),
    [(5, 1, False), (999, 60, False), (1000, 1, False), (6000, 60, True), (50_000, 60, True)],
)
def test_faiss_and_torch_agree(
    count: int, groups: int, is_listed: bool, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("faiss")
    gallery, queries = random_people(count, groups)
    queries = queries[:1500]
    index = GalleryIndex(gallery)
    assert index._faiss is not None and (index._faiss.lists > 0) == is_listed
    by_faiss = index.search(faces(queries), 3)
    monkeypatch.setattr(index, "_faiss", None)
    by_torch = index.search(faces(queries), 3)
    same = [one[0].name == other[0].name for one, other in zip(by_faiss, by_torch, strict=True)]
    assert sum(same) >= (0.99 if is_listed else 1) * len(queries)
    for one, other in zip(by_faiss, by_torch, strict=True):
        if one[0].name == other[0].name:
            assert one[0].similarity == pytest.approx(other[0].similarity, abs=1e-5)


def test_faiss_finds_people_of_several_embeddings(gallery: Gallery, monkeypatch):
    pytest.importorskip("faiss")
    index = GalleryIndex(gallery)
    queries = faces(torch.cat([vectors_of(number, 6)[5:] for number in range(9)]))
    by_faiss = index.search(queries, 5)
    monkeypatch.setattr(index, "_faiss", None)
    for one, other in zip(by_faiss, index.search(queries, 5), strict=True):
        assert [match.name for match in one] == [match.name for match in other]


def test_without_faiss_torch_searches(gallery: Gallery, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = GalleryIndex(gallery)
    assert index._faiss is None
    assert index.search(Embedding(vectors_of(3), SPACE))[0][0].name == "person 3"


def test_a_gpu_that_fails_leaves_the_cpu_and_one_warning(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    faiss = pytest.importorskip("faiss")

    def failing(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", failing, raising=False)
    for _ in range(2):
        index = GalleryIndex(gallery)
        assert index.search(Embedding(vectors_of(3), SPACE))[0][0].name == "person 3"
    assert caplog.text.count("its GPU can't be used: out of memory") == 1
