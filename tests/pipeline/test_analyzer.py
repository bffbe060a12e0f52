"""`Analyzer`: batches of any images through models that are opened once; no settings of its own."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement, RunsOn
from fastface.pipeline import model_batches
from fastface.pipeline.analyzer import Analyzer
from fastface.utils.choose import limit_faces
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from fastface.utils.packs import ModelFile, ModelPack
from tests.nodes.fakes import SIZE_HW, FakeBackend, images_with

OPTIONS = DetectionOptions()


class RowCounter:
    """A head that says which row of which image each face is, and notes how many it was given."""

    task = "recognition"
    runs_on = RunsOn("cpu", "fake")

    def __init__(self) -> None:
        self.given: list[int] = []

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        self.given.append(len(faces))
        return {"embeddings": torch.stack((faces.boxes[:, 0], faces.image_index.float()), 1)}


class Backend(FakeBackend):
    """Opens slowly, and notes what it opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.head = RowCounter()

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Any:
        pack.model(task)
        time.sleep(0.02)
        self.opened.append(task)
        return self.detector if task == "detection" else self.head


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def analyzer(backend: Backend, tmp_path: Path) -> Analyzer:
    models = []
    for task in ("detection", "recognition"):
        path = tmp_path / f"{task}.onnx"
        path.write_bytes(b"weights")
        models.append(ModelFile(path, task, output_shapes=((None, 2),)))
    return Analyzer(ModelPack("fake", tmp_path, tuple(models)), backend, Placement())


def faces_at(xs: list[float], images: list[int]) -> Faces:
    x = torch.tensor(xs)
    return Faces(
        boxes=torch.stack((x, x, x + 8, x + 8), 1) if xs else torch.zeros(0, 4),
        scores=torch.ones(len(xs)),
        image_index=torch.tensor(images, dtype=torch.int64),
        image_sizes=(SIZE_HW,) * (max(images, default=0) + 1),
    )


class TestDetect:
    def test_no_images(self, analyzer: Analyzer):
        faces = analyzer.detect(Images.from_comfy(images_with()), OPTIONS)
        assert len(faces) == 0 and faces.image_sizes == ()

    @pytest.mark.parametrize("counts", [[0], [3], [0, 2, 1], [1] * 40])
    def test_faces_in_the_order_of_the_images(self, analyzer: Analyzer, counts: list[int]):
        faces = analyzer.detect(Images.from_comfy(images_with(*counts)), OPTIONS)
        assert faces.per_image() == counts and faces.image_sizes == (SIZE_HW,) * len(counts)
        assert faces.image_index.tolist() == sorted(faces.image_index.tolist())

    def test_images_of_mixed_sizes_keep_their_places(self, analyzer: Analyzer, backend: Backend):
        wide = torch.nn.functional.pad(images_with(2), (0, 0, 0, 8))
        faces = analyzer.detect(
            Images.from_comfy([images_with(1), wide, images_with(3, 0)]), OPTIONS
        )
        assert faces.per_image() == [1, 2, 3, 0]
        assert faces.image_sizes == (SIZE_HW, tuple(wide.shape[1:3]), SIZE_HW, SIZE_HW)
        assert backend.detector.calls == 2, "images of one size go together"

    def test_progress_counts_images(self, analyzer: Analyzer):
        seen: list[tuple[int, int]] = []
        images = Images.from_comfy(images_with(*[1] * 40))
        analyzer.detect(images, OPTIONS, lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert seen[-1] == (40, 40) and len(seen) > 1

    def test_copies_on_the_device_are_let_go_one_by_one(
        self, analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
    ):
        copies: list[weakref.ref[Tensor]] = []
        alive: list[int] = []

        def to(batch: ImageBatch, device: torch.device) -> ImageBatch:
            alive.append(sum(copy() is not None for copy in copies))
            copied = ImageBatch(batch.pixels.clone(), batch.positions, batch.bgr)
            copies.append(weakref.ref(copied.pixels))
            return copied

        monkeypatch.setattr(ImageBatch, "to", to)
        analyzer.detect(Images.from_comfy(images_with(*[1] * 100)), OPTIONS)
        assert len(alive) > 3 and max(alive) <= 1

    def test_pieces_that_were_not_complete_are_detected_again(
        self, analyzer: Analyzer, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ):
        whole = backend.detector.detect
        reads: list[int] = []
        read = model_batches.read_together

        def read_together(tensors: list[Tensor]) -> list[list[float]]:
            reads.append(len(tensors))
            return read(tensors)

        class Late:
            """Says of the first batch with a third image, once, that it was not complete."""

            host_values = torch.ones(1)
            done = False

            def __init__(self, faces: Faces) -> None:
                self.faces = faces

            def resolve(self, host_values: Sequence[float]) -> Faces | None:
                if len(self.faces) > 6 and not Late.done:
                    Late.done = True
                    return None
                return self.faces

        monkeypatch.setattr(model_batches, "read_together", read_together)
        monkeypatch.setattr(
            backend.detector, "detect", lambda *args, **kw: Late(whole(*args, **kw))
        )
        counts = [1, 0, 2, 1, 3, 3, 3, 0, 1]
        faces = analyzer.detect(Images.from_comfy(images_with(*counts)), OPTIONS)
        assert faces.per_image() == counts and Late.done
        assert len(reads) == 2, "one for all, one for what was looked for again"

    def test_what_progress_raises_passes_through(self, analyzer: Analyzer, backend: Backend):
        class Interrupted(BaseException):
            pass

        def interrupt(done: int, total: int) -> None:
            raise Interrupted

        with pytest.raises(Interrupted):
            analyzer.detect(Images.from_comfy(images_with(*[1] * 40)), OPTIONS, interrupt)
        assert backend.detector.calls == 1

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 200.0])
    def test_bad_values_are_refused(self, analyzer: Analyzer, value: float):
        images = images_with(1, 1)
        images[1, 5, 5, 1] = value
        with pytest.raises(InvalidInput, match="images 0, 1"):
            analyzer.detect(Images.from_comfy(images), OPTIONS)


class TestDescribe:
    def test_no_faces(self, analyzer: Analyzer, backend: Backend):
        images = Images.from_comfy(images_with(0))
        faces = analyzer.describe(images, Faces.empty((SIZE_HW,)), ["recognition"])
        assert faces.embeddings is not None and faces.embeddings.shape == (0, 2)
        assert faces.embedding_space and backend.head.given == []

    @pytest.mark.parametrize(("count", "pieces"), [(1, [1]), (16, [16]), (38, [16, 16, 6])])
    def test_many_faces_in_pieces(
        self, analyzer: Analyzer, backend: Backend, count: int, pieces: list[int]
    ):
        images = Images.from_comfy(images_with(*[1] * count))
        seen: list[tuple[int, int]] = []
        faces = analyzer.describe(
            images,
            faces_at([float(n) for n in range(count)], list(range(count))),
            ["recognition"],
            lambda done, total: seen.append((done, total)),
        )
        assert backend.head.given == pieces
        assert faces.embeddings is not None
        assert faces.embeddings.tolist() == [[float(n), float(n)] for n in range(count)]
        assert seen[-1] == (count, count) and len(seen) == len(pieces)

    def test_no_tasks_change_nothing(self, analyzer: Analyzer, backend: Backend):
        faces = faces_at([1.0], [0])
        assert analyzer.describe(Images.from_comfy(images_with(1)), faces, []) is faces
        assert backend.opened == []

    def test_a_task_that_the_pack_lacks(self, analyzer: Analyzer):
        with pytest.raises(ModelError, match=r"'fake' .* has no genderage model"):
            analyzer.describe(
                Images.from_comfy(images_with(1)), faces_at([1.0], [0]), ["genderage"]
            )


class TestModels:
    def test_each_is_opened_when_first_needed_and_kept(self, analyzer: Analyzer, backend: Backend):
        assert backend.opened == [] and analyzer.runs_on() == {}
        images = Images.from_comfy(images_with(1))
        for _ in range(2):
            analyzer.detect(images, OPTIONS)
        assert backend.opened == list(analyzer.runs_on()) == ["detection"]
        analyzer.describe(images, faces_at([1.0], [0]), ["recognition"])
        assert backend.opened == list(analyzer.runs_on()) == ["detection", "recognition"]

    def test_threads_that_need_it_at_once_get_one(self, analyzer: Analyzer, backend: Backend):
        with ThreadPoolExecutor(8) as threads:
            models = list(threads.map(analyzer.model, ["detection"] * 8))
        assert all(model is models[0] for model in models) and backend.opened == ["detection"]

    def test_one_that_failed_is_tried_again(
        self, analyzer: Analyzer, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ):
        with monkeypatch.context() as broken:
            broken.setattr(backend, "detector", None)
            broken.setattr(Backend, "open", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                analyzer.model("detection")
        assert analyzer.model("detection") is backend.detector

    @pytest.mark.parametrize("task", ["detection", "recognition"])
    def test_a_backend_that_opens_something_else_is_named(
        self, analyzer: Analyzer, backend: Backend, monkeypatch: pytest.MonkeyPatch, task: str
    ):
        monkeypatch.setattr(backend, "detector", "no detector")
        monkeypatch.setattr(backend, "head", "no head")
        images = Images.from_comfy(images_with(1))
        with pytest.raises(ModelError, match=f"fake opened 'no .*{task[:6]}"):
            if task == "detection":
                analyzer.detect(images, OPTIONS)
            else:
                analyzer.describe(images, faces_at([1.0], [0]), [task])

    def test_no_two_analyzers_share_a_name_in_caches(self, analyzer: Analyzer, backend: Backend):
        assert Analyzer(analyzer.pack, backend, Placement()).serial != analyzer.serial


@pytest.mark.parametrize(
    ("limit", "metric", "kept"),
    [
        (0, "default", [0, 10, 40, 5]),
        (-1, "default", [0, 10, 40, 5]),
        (3, "default", [0, 10, 40, 5]),
        (1, "default", [40, 5]),
        (2, "default", [40, 10, 5]),
        (2, "max", [0, 10, 5]),
    ],
)
def test_limit_faces(limit: int, metric: str, kept: list[float]):
    """Three faces of one size in an image whose centre is at (48, 32), one in the next image."""
    faces = faces_at([0.0, 10.0, 40.0, 5.0], [0, 0, 0, 1])
    assert limit_faces(faces, limit, metric).boxes[:, 0].tolist() == kept


def test_limit_no_faces():
    assert len(limit_faces(Faces.empty((SIZE_HW,)), 1)) == 0
