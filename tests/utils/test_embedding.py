from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastface.utils.embedding import Embedding, mean_embedding
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces


def faces_with(*rows: list[float]) -> Faces:
    count = len(rows)
    return Faces(
        boxes=torch.zeros(count, 4),
        scores=torch.ones(count),
        image_index=torch.zeros(count, dtype=torch.int64),
        image_sizes=((10, 10),),
        embeddings=torch.tensor(rows).reshape(count, 2),
        embedding_space="space",
    )


@pytest.mark.parametrize(
    "rows, expected",
    [([], []), ([[3.0, 4.0]], [[3.0, 4.0]]), ([[30.0, 0.0], [0.0, 1.0]], [[15.0, 0.5]])],
)
def test_mean_is_plain(rows: list[list[float]], expected: list[list[float]]):
    mean = mean_embedding(faces_with(*rows))
    assert mean.vector.shape == (len(expected), 2) and mean.vector.tolist() == expected
    assert mean.space == "space"


def test_no_faces_and_no_model():
    mean = mean_embedding(Faces.empty(((10, 10),)))
    assert mean.vector.shape == (0, 0) and mean.space is None


def test_refuses_faces_that_were_not_embedded():
    faces = replace(faces_with([1.0, 0.0]), embeddings=None, embedding_space=None)
    with pytest.raises(InvalidInput, match="got 1 faces without embeddings; let FastFaceEmbed"):
        mean_embedding(faces)


def test_repr_is_one_readable_line():
    assert repr(Embedding(torch.ones(1, 512), "space")) == "Embedding(512 numbers of space on cpu)"
    assert repr(Embedding(torch.ones(0, 512), None)) == "Embedding(of nobody)"
