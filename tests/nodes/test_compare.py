from __future__ import annotations

import pytest
import torch

from fastface.nodes.compare import FastFaceCompare, _group
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
    same, other = matrix[0, 24:, 56 : 56 + 64].mean(), matrix[0, 24:, 56 + 64 :].mean()
    assert same > other + 0.2


@pytest.mark.parametrize("nobody", [faces_with(), Faces.empty(((8, 8),))])
def test_nobody(nobody: Faces):
    for pair in ((nobody, faces_with([1.0, 0.0])), (faces_with([1.0, 0.0]), nobody)):
        similarity, same, matrix = compare(*pair, threshold=-1.0)
        assert similarity == 0 and same is False and matrix.ndim == 4


def test_two_spaces_are_refused():
    with pytest.raises(InvalidInput, match="can't be compared"):
        compare(faces_with([1.0]), faces_with([1.0], space="other"))


def on_images(*images: int, colours: tuple[float, ...]) -> tuple[Faces, torch.Tensor]:
    """Faces in images of these places, 20 pixels wide, each image of one colour."""
    pictures = torch.tensor(colours).view(-1, 1, 1, 1).expand(-1, 60, 80, 3).clone()
    faces = Faces(
        boxes=torch.tensor([[20.0, 20.0, 40.0, 40.0]]).repeat(len(images), 1),
        scores=torch.ones(len(images)),
        image_index=torch.tensor(images),
        image_sizes=((60, 80),) * len(pictures),
        embeddings=torch.eye(4).repeat(50, 1)[: len(images)],
        embedding_space="fake",
    )
    return faces, pictures


def test_faces_are_shown_beside_their_rows_and_above_their_columns():
    first, bright = on_images(0, 0, colours=(1.0,))
    second, grey = on_images(0, 1, 1, colours=(0.25, 0.5))
    matrix = compare(first, second, 0.3, bright, grey)[2][0]
    assert matrix.shape == (24 + 64 + 2 * 64, 56 + 64 + 3 * 64, 3)
    middle = 24 + 64 + 32, 56 + 64 + 32
    for row in range(2):
        assert float(matrix[middle[0] + 64 * row, 56 + 32].mean()) == pytest.approx(1.0, abs=0.01)
    for column, colour in enumerate((0.25, 0.5, 0.5)):
        shown = matrix[24 + 32, middle[1] + 64 * column].mean()
        assert float(shown) == pytest.approx(colour, abs=0.01)


def test_labels_are_the_numbers_of_the_annotated_pictures():
    first, second = on_images(0, 0, colours=(1.0,))[0], on_images(0, 1, 1, colours=(0.0, 0.5))[0]
    result = FastFaceCompare().compare(first, second)
    assert result["ui"]["text"] == ["A 0 and B 0:0 are the most alike of 6 pairs: 1.00"]
    swapped = first.with_fields(embeddings=torch.eye(4)[[3, 2]])
    text = FastFaceCompare().compare(swapped, second)["ui"]["text"]
    assert text == ["A 1 and B 1:1 are the most alike of 6 pairs: 1.00"]
    assert _group("B", second, None, True).labels == ["B 0:0", "B 1:0", "B 1:1"]


def test_images_of_other_faces_are_refused():
    faces, _ = on_images(0, colours=(1.0,))
    with pytest.raises(InvalidInput, match="faces of"):
        compare(faces, faces, 0.3, torch.zeros(1, 8, 8, 3))


def test_of_very_many_faces_the_pairs_alone_are_shown():
    faces, images = on_images(*[0] * 200, colours=(1.0,))
    faces = faces.with_fields(embeddings=torch.randn(200, 8))
    assert compare(faces, faces, 0.3, images, images)[2].shape == (1, 4000, 4000, 3)
