"""Running out of memory costs time, never results."""

from __future__ import annotations

import pytest
import torch

from fastface.utils.errors import OutOfMemory
from fastface.utils.faces import Faces
from fastface.utils.free_memory import faces_at_once, images_at_once, run_with_oom_retry
from fastface.utils.images import ImageBatch

BOX = torch.tensor([[0.0, 0.0, 4.0, 4.0]])


def a_batch(images: int) -> ImageBatch:
    """Each image is filled with its own position."""
    pixels = torch.arange(images).view(-1, 1, 1, 1).expand(-1, 8, 8, 3).to(torch.uint8)
    return ImageBatch(pixels, tuple(range(10, 10 + images)), bgr=False)


class DetectorThatFits:
    """Finds one face an image, whose score is the image's fill, in so many images at a time."""

    def __init__(self, fitting: int) -> None:
        self.fitting = fitting
        self.runs: list[int] = []

    def __call__(self, batch: ImageBatch) -> Faces:
        self.runs.append(len(batch.positions))
        if len(batch.positions) > self.fitting:
            raise OutOfMemory("too much at once")
        return Faces(
            boxes=BOX.expand(len(batch.positions), -1).clone(),
            scores=batch.pixels[:, 0, 0, 0].float(),
            image_index=torch.arange(len(batch.positions)),
            image_sizes=(batch.size_hw,) * len(batch.positions),
        )


@pytest.mark.parametrize(
    ("images", "fitting", "runs"),
    [
        (1, 1, [1]),
        (8, 8, [8]),
        (8, 3, [8, 4, 2, 2, 4, 2, 2]),
        (5, 2, [5, 2, 3, 1, 2]),
    ],
)
def test_every_image_is_done_once_in_its_place(images: int, fitting: int, runs: list[int]) -> None:
    detector = DetectorThatFits(fitting)
    faces = Faces.cat(run_with_oom_retry(a_batch(images), detector))
    assert faces.image_index.tolist() == list(range(images))
    assert faces.scores.tolist() == list(range(images))
    assert faces.image_sizes == ((8, 8),) * images
    assert detector.runs == runs


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(OutOfMemory, match="too much at once"):
        run_with_oom_retry(a_batch(2), DetectorThatFits(0))


def test_other_errors_pass_through() -> None:
    def broken(batch: ImageBatch) -> Faces:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_with_oom_retry(a_batch(4), broken)


def test_free_memory_sets_how_many_images_a_gpu_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    gpu = torch.device("cuda", 0)
    numbers = []
    for gigabytes in (0, 1, 4, 80):
        free["bytes"] = gigabytes << 30
        numbers.append(images_at_once(gpu, (640, 640), 640 * 640))
    assert numbers[0] == 1
    assert numbers == sorted(numbers)
    assert 1 < numbers[1] < numbers[2] < numbers[3]
    free["bytes"] = 4 << 30
    assert images_at_once(gpu, (1280, 1280), 640 * 640) < numbers[2]
    assert images_at_once(gpu, (640, 640), 4000 * 3000) < numbers[2]
    assert images_at_once(torch.device("cpu"), (640, 640), 1) == 4


def test_the_user_may_set_fewer_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    canvas = ((640, 640), 640 * 640)
    free = images_at_once(gpu, *canvas)
    monkeypatch.setenv("FASTFACE_GPU_MEM_LIMIT", "1GB")
    assert 1 <= images_at_once(gpu, *canvas) < free
    assert images_at_once(cpu, *canvas) == 4
    monkeypatch.delenv("FASTFACE_GPU_MEM_LIMIT")
    monkeypatch.setenv("FASTFACE_BATCH_SIZE", "3")
    assert images_at_once(gpu, *canvas) == images_at_once(cpu, *canvas) == 3
    assert faces_at_once(on_cpu=True) == faces_at_once(on_cpu=False) == 3
    monkeypatch.setenv("FASTFACE_BATCH_SIZE", "1000")
    assert (images_at_once(gpu, *canvas), images_at_once(cpu, *canvas)) == (free, 4)


def test_faces_are_halved_too() -> None:
    faces = Faces(
        boxes=BOX.repeat(5, 1),
        scores=torch.arange(5.0),
        image_index=torch.zeros(5, dtype=torch.int64),
        image_sizes=((8, 8),),
    )

    def describe(some: Faces) -> list[float]:
        if len(some) > 2:
            raise OutOfMemory("too much at once")
        return some.scores.tolist()

    assert run_with_oom_retry(faces, describe) == [[0, 1], [2], [3, 4]]
