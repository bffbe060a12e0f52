"""Embeddings of a film come back as they were, wherever they waited."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fastface.pipeline.film.spilled import SpilledEmbeddings
from fastface.utils import host
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path)
    return tmp_path / "films"


def some(count: int, begin: float, dim: int | None = 3, space: str = "a@1") -> Faces:
    """Faces of one image; with embeddings of so many numbers, or none."""
    embeddings = None
    if dim is not None:
        embeddings = begin + torch.arange(count * dim, dtype=torch.float32).reshape(count, dim)
    return Faces(
        boxes=torch.zeros(count, 4),
        scores=torch.zeros(count),
        image_index=torch.zeros(count, dtype=torch.int64),
        image_sizes=((8, 8),),
        embeddings=embeddings,
        embedding_space=None if dim is None else space,
    )


def through(parts: list[Faces], spilled: SpilledEmbeddings) -> Faces:
    return spilled.give(Faces.cat([spilled.take(part) for part in parts]))


@pytest.mark.parametrize("counts", [[2], [0], [0, 3, 0, 1], [500, 700]], ids=str)
def test_what_is_taken_is_given_back(counts: list[int], folder: Path):
    parts = [some(count, 1000.0 * number) for number, count in enumerate(counts)]
    spilled = SpilledEmbeddings()
    bare = [spilled.take(part) for part in parts]
    assert all(part.embeddings is None and part.embedding_space is None for part in bare)
    assert not list(folder.iterdir()), "the file has no name"
    faces, expected = spilled.give(Faces.cat(bare)), Faces.cat(parts)
    assert faces.embeddings is not None and expected.embeddings is not None
    torch.testing.assert_close(faces.embeddings, expected.embeddings, rtol=0, atol=0)
    assert faces.embedding_space == "a@1"


def test_without_embeddings_nothing_is_written(folder: Path):
    faces = through([some(2, 0, None), some(1, 0, None)], SpilledEmbeddings())
    assert len(faces) == 3 and faces.embeddings is None and not folder.exists()


def test_what_can_not_be_written_stays_in_memory(monkeypatch: pytest.MonkeyPatch):
    """A disk that is full from the second write on, which has written a part by then."""
    real = tempfile.TemporaryFile

    class Full:
        def __init__(self, **options: Any) -> None:
            self.file, self.writes = real(**options), 0

        def write(self, content: memoryview) -> int:
            self.writes += 1
            if self.writes > 1:
                self.file.write(content[:4])
                raise OSError(28, "No space left on device")
            return self.file.write(content)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    parts = [some(count, 100.0 * count) for count in (2, 3, 1)]
    faces, expected = through(parts, SpilledEmbeddings()), Faces.cat(parts)
    assert faces.embeddings is not None and expected.embeddings is not None
    torch.testing.assert_close(faces.embeddings, expected.embeddings, rtol=0, atol=0)


def test_a_pack_that_was_replaced_in_between_is_told():
    spilled = SpilledEmbeddings()
    spilled.take(some(1, 0.0))
    with pytest.raises(InvalidInput, match="of b@2 behind those of a@1"):
        spilled.take(some(1, 0.0, space="b@2"))
    with pytest.raises(InvalidInput, match="of None behind"):
        spilled.take(some(1, 0.0, None))
    spilled.close()
