from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.utils.errors import InvalidInput
from fastface.utils.faces import Faces, empty_rows

#: Every tensor field of three faces.
COLUMNS: dict[str, Tensor] = {
    "boxes": torch.arange(12.0).reshape(3, 4),
    "scores": torch.tensor([0.9, 0.8, 0.7]),
    "image_index": torch.tensor([0, 0, 2]),
    "landmarks": torch.arange(30.0).reshape(3, 5, 2),
    "embeddings": torch.arange(12.0).reshape(3, 4),
    "landmarks_106": torch.arange(636.0).reshape(3, 106, 2),
    "landmarks_68": torch.arange(612.0).reshape(3, 68, 3),
    "pose": torch.arange(9.0).reshape(3, 3),
    "gender": torch.tensor([0, 1, 0]),
    "age": torch.tensor([30, 40, 50]),
    "verification": torch.tensor([0.3, 0.2, 0.1]),
}
SIZES = ((10, 20), (30, 40), (50, 60))


def faces_with(**changes: Any) -> Faces:
    """Three faces, two in the first of three images and one in the last, with every field."""
    columns: dict[str, Any] = {**COLUMNS, "image_sizes": SIZES, "embedding_space": "arc", **changes}
    return Faces(**columns)


def scores(faces: Faces) -> list[float]:
    return [round(score, 6) for score in faces.scores.tolist()]


def test_no_faces():
    faces = Faces.empty()
    assert len(faces) == 0 and faces.image_sizes == () and faces.per_image() == []
    assert faces.boxes.shape == (0, 4) and faces.landmarks is not None
    assert faces.landmarks.shape == (0, 5, 2) and faces.image_index.dtype == torch.int64
    assert faces.embeddings is None and faces.embedding_space is None
    assert len(faces[:]) == len(faces[[]]) == len(faces[faces.scores > 0]) == 0
    assert len(Faces.cat([faces, faces])) == len(Faces.cat([])) == 0
    assert len(faces.to("cpu")) == len(faces.placed([], [])) == 0


def test_no_faces_in_images_keeps_their_sizes():
    faces = Faces.empty(SIZES)
    assert faces.image_sizes == SIZES and faces.per_image() == [0, 0, 0]
    assert faces.of_image(1).image_sizes == (SIZES[1],)


def test_faces_hold_what_they_were_given():
    faces = faces_with()
    assert len(faces) == 3 and faces.device == torch.device("cpu")
    assert {name for name, _ in faces.tensors()} == set(COLUMNS)
    for name, tensor in COLUMNS.items():
        assert getattr(faces, name) is tensor


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([], []),
        (torch.zeros(0, dtype=torch.int64), []),
        (slice(0, 0), []),
        (slice(None), [0, 1, 2]),
        (slice(1, None), [1, 2]),
        (slice(-2, None), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (slice(1, 99), [1, 2]),
        (0, [0]),
        (2, [2]),
        (-1, [2]),
        (-3, [0]),
        (np.int64(1), [1]),
        (torch.tensor(1), [1]),
        ([2, 0], [2, 0]),
        ((1, 1), [1, 1]),
        ([-1], [2]),
        ([True, False, True], [0, 2]),
        ([False, False, False], []),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([2, 1]), [2, 1]),
        (np.array([False, True, False]), [1]),
        (range(2), [0, 1]),
    ],
    ids=str,
)
def test_index(rows: Any, expected: list[int]):
    chosen = faces_with()[rows]
    for name, tensor in COLUMNS.items():
        assert torch.equal(getattr(chosen, name), tensor[expected]), name
        assert getattr(chosen, name).dtype == tensor.dtype
    assert chosen.image_sizes == SIZES and chosen.embedding_space == "arc"


@pytest.mark.parametrize("rows", [3, -4, [3], torch.tensor([5]), np.int64(3)], ids=str)
def test_index_out_of_range(rows: Any):
    with pytest.raises(IndexError):
        faces_with()[rows]


def test_index_of_no_face_says_how_many_there_are():
    with pytest.raises(IndexError, match="got face 0, but there are 0"):
        Faces.empty()[0]


def test_faces_can_be_walked_over():
    assert [scores(face) for face in faces_with()] == [[0.9], [0.8], [0.7]]
    assert list(Faces.empty()) == []


@pytest.mark.parametrize("image, expected", [(0, [0.9, 0.8]), (1, []), (2, [0.7])])
def test_of_image_is_a_batch_of_that_image(image: int, expected: list[float]):
    part = faces_with().of_image(image)
    assert scores(part) == expected
    assert part.image_sizes == (SIZES[image],) and part.image_index.tolist() == [0] * len(part)
    assert part.embedding_space == "arc" and part.per_image() == [len(expected)]


@pytest.mark.parametrize("image", [-1, 3])
def test_of_image_that_is_not_there(image: int):
    with pytest.raises(InvalidInput, match=f"got image {image}, expected one of 3 images"):
        faces_with().of_image(image)


def test_per_image_counts_images_without_faces():
    assert faces_with().per_image() == [2, 0, 1]


@pytest.mark.parametrize(
    "positions, images, order, index",
    [
        ([0, 1, 2], 3, [0, 1, 2], [0, 0, 2]),
        ([2, 0, 1], 3, [2, 0, 1], [1, 2, 2]),
        ([4, 5, 1], 6, [2, 0, 1], [1, 4, 4]),
    ],
)
def test_placed_in_a_larger_or_reordered_batch(
    positions: list[int], images: int, order: list[int], index: list[int]
):
    sizes = [(image + 1, image + 2) for image in range(images)]
    placed = faces_with().placed(positions, sizes)
    assert torch.equal(placed.boxes, COLUMNS["boxes"][order])
    assert placed.image_index.tolist() == index
    assert placed.image_sizes == tuple(sizes) and len(placed.per_image()) == images


def test_cat_counts_images_on():
    joined = Faces.cat([faces_with(), faces_with()[[]], faces_with()])
    assert joined.image_index.tolist() == [0, 0, 2, 6, 6, 8]
    assert joined.image_sizes == SIZES * 3 and joined.embedding_space == "arc"
    for name, tensor in COLUMNS.items():
        if name != "image_index":
            assert torch.equal(getattr(joined, name), torch.cat((tensor, tensor))), name


@pytest.mark.parametrize(
    "change",
    [
        lambda faces: faces[1:],
        lambda faces: faces[[2, 0]],
        lambda faces: faces[2],
        lambda faces: faces.of_image(2),
        lambda faces: faces.to("cpu"),
        lambda faces: faces.placed([4, 5, 1], [(1, 1)] * 6),
        lambda faces: Faces.cat([faces, faces]),
        lambda faces: Faces.cat([faces, faces_with()]),
    ],
)
def test_what_the_host_knows_of_the_images_stays_true(change: Any):
    known = faces_with(image_list=(0, 0, 2))
    changed = change(known)
    assert changed.images_of_faces() == tuple(changed.image_index.tolist())
    assert changed.per_image() == change(faces_with()).per_image()


def test_what_the_host_knows_is_not_read_from_the_device():
    faces = faces_with(image_list=(0, 0, 2))
    nowhere = faces.with_fields(**{name: t.to("meta") for name, t in faces.tensors()})
    assert nowhere.per_image() == [2, 0, 1]
    assert nowhere[1:].images_of_faces() == (0, 2)
    assert Faces.cat([nowhere, nowhere]).images_of_faces() == (0, 0, 2, 3, 3, 5)
    assert nowhere.placed([4, 5, 1], [(1, 1)] * 6).images_of_faces() == (1, 4, 4)


def test_refuses_an_image_list_of_another_length():
    with pytest.raises(InvalidInput, match=r"image_list: got 2 entries for 3 faces"):
        faces_with(image_list=(0, 0))


def test_cat_refuses_different_embedding_spaces():
    other = faces_with(embedding_space="facenet")
    with pytest.raises(InvalidInput, match=r"\['arc', 'facenet'\].*same model"):
        Faces.cat([faces_with(), other])
    with pytest.raises(InvalidInput, match=r"\['None', 'arc'\].*same model"):
        Faces.cat([faces_with(), faces_with(embeddings=None, embedding_space=None)])


def test_cat_refuses_different_fields():
    with pytest.raises(InvalidInput, match=r"got faces with fields .*'verification'.* as in the f"):
        Faces.cat([faces_with(age=None), faces_with()])


def test_to_moves_every_field():
    moved = faces_with().to("meta")
    assert moved.device == torch.device("meta") and len(moved) == 3
    assert all(tensor.device.type == "meta" for _, tensor in moved.tensors())
    assert moved.image_sizes == SIZES and moved.embedding_space == "arc"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"boxes": torch.zeros(3, 5)}, r"Faces.boxes: got shape \(3, 5\), expected \[3, 4\]"),
        ({"boxes": torch.zeros(2, 4)}, r"Faces.scores: got shape \(3,\), expected \[2\]"),
        ({"scores": torch.zeros(3, 1)}, r"Faces.scores: got shape \(3, 1\), expected \[3\]"),
        ({"landmarks": torch.zeros(3, 5, 3)}, r"landmarks: got shape .*, expected \[3, 5, 2\]"),
        ({"landmarks_106": torch.zeros(3, 68, 2)}, r"landmarks_106: .* \[3, 106, 2\]"),
        ({"embeddings": torch.zeros(2, 4)}, r"embeddings: .*\(2, 4\), expected \[3, 'D'\]"),
        ({"embeddings": torch.zeros(3)}, r"embeddings: got shape \(3,\), expected \[3, 'D'\]"),
        ({"pose": torch.zeros(3, 2)}, r"pose: got shape \(3, 2\), expected \[3, 3\]"),
        ({"scores": torch.zeros(3).half()}, r"scores: got dtype .*16, expected torch.float32"),
        ({"image_index": torch.zeros(3)}, "image_index: got dtype .*32, expected torch.int64"),
        ({"age": torch.zeros(3, dtype=torch.int32)}, "age: got dtype .*32, expected torch.int64"),
        ({"pose": torch.zeros(3, 3, device="meta")}, "pose: got device meta, but boxes are on cpu"),
        ({"embedding_space": None}, "got embedding_space None and embeddings; give both or"),
        ({"embeddings": None}, "got embedding_space 'arc' and no embeddings; give both or"),
    ],
)
def test_refuses_what_does_not_fit(changes: dict[str, Any], message: str):
    with pytest.raises(InvalidInput, match=message):
        faces_with(**changes)


@pytest.mark.parametrize("name", COLUMNS)
def test_empty_rows_fit_into_faces(name: str):
    rows = empty_rows(name, 4, "cpu")
    faces = Faces.empty().with_fields(
        **{name: rows}, embedding_space="arc" if name == "embeddings" else None
    )
    assert getattr(faces, name) is rows
    assert rows.shape[1:] == COLUMNS[name].shape[1:] and rows.dtype == COLUMNS[name].dtype


def test_repr_is_one_readable_line():
    assert repr(Faces.empty([(9, 9), (9, 9)])) == "Faces(0 in 2 image(s) on cpu; landmarks)"
    face = Faces(torch.zeros(1, 4), torch.ones(1), torch.zeros(1, dtype=torch.int64), ((5, 5),))
    assert repr(face) == "Faces(1 in 1 image(s) on cpu)"
    embedded = face.with_fields(embeddings=torch.ones(1, 3), embedding_space="space")
    assert repr(embedded) == "Faces(1 in 1 image(s) on cpu; embeddings of space)"


class TestNames:
    def test_go_with_their_faces(self):
        faces = faces_of_two_images().with_names(["Anna", None, "Berta", "Anna"])
        assert faces.names == ("Anna", "Berta")
        assert faces[[3, 2]].names_of_faces() == ["Anna", "Berta"]
        assert faces.of_image(1).names_of_faces() == ["Berta", "Anna"]
        assert faces[:0].names_of_faces() == []
        assert faces_of_two_images().names_of_faces() == [None] * 4

    def test_of_two_tables_become_one(self):
        first = faces_of_two_images().with_names(["Anna", None, "Berta", "Anna"])
        second = faces_of_two_images().with_names(["Clara", "Anna", None, None])
        both = Faces.cat([first, second])
        assert both.names == ("Anna", "Berta", "Clara")
        assert both.names_of_faces() == [*first.names_of_faces(), *second.names_of_faces()]
        assert Faces.cat([first, first]).names == ("Anna", "Berta")

    def test_belong_to_identities(self):
        with pytest.raises(InvalidInput, match="identity without names"):
            faces_of_two_images().with_fields(identity=torch.zeros(4, dtype=torch.int64))


def faces_of_two_images() -> Faces:
    return Faces(
        torch.arange(16.0).reshape(4, 4),
        torch.tensor([0.9, 0.8, 0.7, 0.6]),
        torch.tensor([0, 0, 1, 1]),
        ((10, 10), (10, 10)),
    )
