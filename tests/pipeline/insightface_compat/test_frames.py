"""What is kept of an image: the fields of its faces, and in what order they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastface.pipeline.insightface_compat.lazy_faces import (
    FrameRecord,
    face_fields,
)
from fastface.utils.faces import Faces
from fastface.utils.insightface_fields import faces_from_arrays


class TestArrays:
    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_there_and_back(self, count: int):
        boxes = np.arange(count * 5, dtype=np.float32).reshape(count, 5)
        points = np.arange(count * 10, dtype=np.float32).reshape(count, 5, 2)
        faces = faces_from_arrays(boxes, points, (48, 64))
        assert len(faces) == count and faces.image_sizes == ((48, 64),)
        assert np.array_equal(faces.boxes.numpy(), boxes[:, :4])
        assert np.array_equal(faces.scores.numpy(), boxes[:, 4])
        assert np.array_equal(faces.landmarks.numpy(), points)
        boxes[:], points[:] = -1, -1
        assert (faces.boxes >= 0).all() and (faces.landmarks >= 0).all()

    def test_without_landmarks(self):
        assert faces_from_arrays(np.zeros((2, 5)), None, (48, 64)).landmarks is None

    def test_fields_are_float32_arrays_and_integers(self):
        faces = Faces(
            boxes=torch.zeros(2, 4),
            scores=torch.ones(2),
            image_index=torch.zeros(2, dtype=torch.int64),
            image_sizes=((8, 8),),
            embeddings=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
            embedding_space="any",
            gender=torch.tensor([0, 1]),
            age=torch.tensor([30, 40]),
        )
        assert face_fields(faces, "genderage") == [
            {"gender": 0, "age": 30},
            {"gender": 1, "age": 40},
        ]
        first, second = face_fields(faces, "recognition")
        assert first["embedding"].dtype == np.float32 and first["embedding"].shape == (2,)
        assert second["embedding"].tolist() == [3.0, 4.0]


def record(count: int) -> FrameRecord:
    return FrameRecord(faces_from_arrays(np.zeros((count, 5)), None, (8, 8)))


@pytest.mark.parametrize(
    ("known", "row", "expected"),
    [([], 0, [0]), ([], 2, [2]), ([2], 0, [0, 1, 3]), ([0, 1], 3, [2, 3])],
)
def test_one_row_first_then_all_the_rest(known: list[int], row: int, expected: list[int]):
    faces = record(4)
    faces.fields["recognition"] = {number: {} for number in known}
    assert faces.rows_to_read("recognition", row) == expected
    assert faces.rows_to_read("genderage", row) == [row], "each task counts for itself"
