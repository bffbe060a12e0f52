from __future__ import annotations

import pytest
import torch

from fastface.nodes.compare import FastFaceCompare
from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces


def faces_with(*rows: list[float], space: str = "fake") -> Faces:
    count = len(rows)
    return Faces(
        boxes=torch.zeros(count, 4),
        scores=torch.ones(count),
        image_index=torch.zeros(count, dtype=torch.int64),
        image_sizes=((8, 8),),
        embeddings=torch.tensor(rows).reshape(count, len(rows[0]) if rows else 2),
        embedding_space=space,
    )


def compare(*args, **kwargs) -> tuple:
    return FastFaceCompare().compare(*args, **kwargs)["result"]


def test_the_highest_of_all_pairs():
    first, second = faces_with([3.0, 0.0], [0.0, 1.0]), faces_with([-1.0, 0.0], [0.6, 0.8])
    similarity, same, matrix = compare(first, second, 0.7)
    assert similarity == pytest.approx(0.8) and same
    assert not compare(first, second, 0.9)[1]
    assert matrix.shape[0] == 1 and matrix.shape[3] == 3 and matrix.dtype == torch.float32
    height, width = matrix.shape[1:3]
    wide = compare(first, faces_with(*[[1.0, 0.0]] * 5))[2]
    assert wide.shape[1] == height and wide.shape[2] > width


def test_lighter_is_more_alike():
    matrix = compare(faces_with([1.0, 0.0]), faces_with([1.0, 0.0], [0.0, 1.0]))[2]
    same, other = matrix[0, :, 24 : 24 + 64].mean(), matrix[0, :, 24 + 64 :].mean()
    assert same > other + 0.2


@pytest.mark.parametrize("nobody", [faces_with(), Faces.empty(((8, 8),))])
def test_nobody(nobody: Faces):
    for pair in ((nobody, faces_with([1.0, 0.0])), (faces_with([1.0, 0.0]), nobody)):
        similarity, same, matrix = compare(*pair, threshold=-1.0)
        assert similarity == 0 and same is False and matrix.ndim == 4


def test_two_spaces_are_refused():
    with pytest.raises(InvalidInput, match="can't be compared"):
        compare(faces_with([1.0]), faces_with([1.0], space="other"))
