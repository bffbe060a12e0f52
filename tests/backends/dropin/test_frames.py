"""What is kept of an image: a key by content, a bounded cache, the fields of its faces."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from cachetools import TTLCache

from fastface.backends.dropin.frames import (
    FrameRecord,
    ResultCache,
    face_fields,
    faces_from_arrays,
    image_key,
)
from fastface.utils.faces import Faces


class TestImageKey:
    def test_content_and_shape_make_the_key(self):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        keys = [image_key(image), image_key(image.reshape(4, 2, 3)), image_key(image[::-1])]
        other = image.copy()
        other[1, 3, 2] ^= 1
        keys.append(image_key(other))
        assert len(set(keys)) == 4 and all(len(key) == 16 for key in keys)

    @pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[:, ::-1][:, ::-1]])
    def test_memory_layout_does_not(self, layout):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        assert image_key(layout(image)) == image_key(image)


class TestResultCache:
    def test_makes_a_value_once(self):
        cache, made = ResultCache(), []
        for _ in range(3):
            assert cache.get_or_make("key", lambda: made.append(1) or "value") == "value"
        assert made == [1]
        cache.clear()
        cache.get_or_make("key", lambda: made.append(1))
        assert made == [1, 1]

    def test_what_could_not_be_made_is_not_kept(self):
        cache = ResultCache()
        with pytest.raises(ValueError):
            cache.get_or_make("key", lambda: int("x"))
        assert cache.get_or_make("key", lambda: 5) == 5

    def test_none_is_a_value(self):
        cache, made = ResultCache(), []
        for _ in range(2):
            assert cache.get_or_make("key", lambda: made.append(1)) is None
        assert made == [1]

    def test_is_bounded(self):
        cache = ResultCache(entries=2)
        made = []
        for key in (1, 2, 3, 1):
            cache.get_or_make(key, lambda key=key: made.append(key))
        assert made == [1, 2, 3, 1]

    def test_an_entry_that_runs_out_at_any_moment_is_made_again(self):
        """Its time is looked at more than once in a call; it must not vanish between two looks."""
        for lifetime in range(1, 12):
            ticks = iter(range(1000))
            cache = ResultCache()
            cache._entries = TTLCache(10, lifetime, timer=lambda ticks=ticks: next(ticks))
            for _ in range(5):
                assert cache.get_or_make("key", lambda: "value") == "value"

    def test_slow_makers_do_not_wait_for_each_other(self):
        cache, both = ResultCache(), threading.Barrier(2, timeout=10)
        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(cache.get_or_make, key, both.wait) for key in "ab"]
            assert sorted(job.result() for job in jobs) == [0, 1]

    def test_of_two_that_make_the_same_the_first_counts(self):
        """Threads that share a record share what is read from it."""
        cache, both = ResultCache(), threading.Barrier(2, timeout=10)

        def make() -> object:
            both.wait()
            return object()

        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(cache.get_or_make, "key", make) for _ in range(2)]
            first, second = (job.result() for job in jobs)
        assert first is second


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
