"""The object that looks for a person, with models that are no networks."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement, RunsOn
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import BATCHES
from fastface.utils.embedding import Embedding
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs import ModelPack
from fastface.utils.person import Person
from tests.nodes.fakes import BOXES, CountingDetector, FakeBackend, analysis_of, images_with
from tests.pipeline.insightface_compat.test_facade import NO_FACE, THREE_FACES, Detector

#: By score and by place: `BOXES` are in the order of their scores; from the left it is 1, 0, 2.
SECOND_FROM_LEFT = Person("left to right", 1)


class Recogniser:
    """Every face of `BOXES` is along an axis of its own."""

    task = "recognition"
    runs_on = RunsOn("cpu", "fake")

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        rows = [BOXES.index([round(x) for x in box]) for box in faces.boxes.tolist()]
        return {"embeddings": torch.eye(3)[rows] * 20}


class Backend(FakeBackend):
    def open(self, pack: ModelPack, task: str, placement: Placement) -> Any:
        opened = super().open(pack, task, placement)
        return Recogniser() if task == "recognition" else opened


@pytest.fixture
def app(tmp_path: Path) -> FaceAnalysis:
    pack = analysis_of(("detection", "recognition"), tmp_path).analyzer.pack
    backend = Backend()
    backend.detector = Detector()
    return FaceAnalysis(Analyzer(pack, backend, Placement()))


def calls(app: FaceAnalysis) -> int:
    detector = app.analyzer.model("detection")
    assert isinstance(detector, CountingDetector)
    return detector.calls


def found(app: FaceAnalysis, *args: Any, **kwargs: Any) -> list[int]:
    """The places in `BOXES` of the faces that a consumer gets."""
    return [BOXES.index(face.bbox.tolist()) for face in app.get(THREE_FACES, *args, **kwargs)]


def reference(app: FaceAnalysis, row: int) -> Embedding:
    face = app.get(THREE_FACES)[row]
    return Embedding(torch.from_numpy(face.embedding)[None], app.analyzer.embedding_space)


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (Person("largest"), [2]),
        (Person("largest", keep="first"), [2, 0, 1]),
        (Person("smallest", keep="first"), [0, 1, 2]),
        (SECOND_FROM_LEFT, [0]),
        (Person("left to right", 0, keep="first"), [1, 0, 2]),
        (Person("left to right", 3), []),
        (Person("left to right", 3, keep="first"), [0, 1, 2]),
        (Person(mask=torch.tensor([[0.0, 1.0]])), [2]),
        (Person(mask=torch.zeros(4, 4)), []),
        (Person(mask=torch.zeros(4, 4), keep="first"), [0, 1, 2]),
    ],
    ids=str,
)
def test_what_consumers_get(app: FaceAnalysis, person: Person, expected: list[int]):
    chosen = app.for_person(person)
    assert found(chosen) == expected
    boxes, points = chosen.det_model.detect(THREE_FACES)
    assert [BOXES.index(box) for box in boxes[:, :4].tolist()] == expected
    assert points is not None and points.shape == (len(expected), 5, 2)
    images = Images.from_comfy(images_with(3, 0, 3))
    faces = chosen.analyze(images)
    rows = [BOXES.index([round(x) for x in box]) for box in faces.boxes.tolist()]
    assert rows == expected * 2
    assert faces.image_index.tolist() == [0] * len(expected) + [2] * len(expected)
    assert found(app) == [0, 1, 2], "the plain object is as it was"


def test_no_face_at_all_is_nothing_to_talk_about(app: FaceAnalysis, caplog):
    with caplog.at_level(logging.WARNING, "FastFace"):
        assert app.for_person(Person()).get(NO_FACE) == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("max_num", "max_faces", "expected"),
    [(1, 0, [1]), (2, 0, [1, 2]), (0, 2, [1, 2]), (3, 1, [1, 0, 2]), (9, 0, [1, 0, 2])],
)
def test_a_limit_never_costs_the_wanted_one(
    app: FaceAnalysis, max_num: int, max_faces: int, expected: list[int]
):
    app.max_faces = max_faces
    chosen = app.for_person(Person("left to right", keep="first"))
    assert found(chosen, max_num) == found(chosen, max_num=max_num) == expected
    alone = app.for_person(Person("left to right"))
    assert found(alone, max_num) == [1]


@pytest.mark.parametrize("keep", ["only", "first"])
def test_a_limit_costs_nobody_who_fits_by_another_order(app: FaceAnalysis, keep: str):
    chosen = app.for_person(Person("left to right", 7, keep=keep))
    # As the plain object's: the largest and most central of them.
    assert found(chosen, 1) == ([] if keep == "only" else found(app, 1))


def test_persons_are_looked_for_among_those_before(app: FaceAnalysis):
    left = app.for_person(Person("left to right", keep="first"))
    assert found(left.for_person(Person("largest"))) == [2]
    within = Person(mask=torch.tensor([[1.0, 0.0]]))
    assert found(app.for_person(within).for_person(Person("right to left"))) == found(
        app.for_person(within)
    )
    assert found(app.for_person(Person()).for_person(Person(index=1))) == []


class TestCaches:
    def test_detections_are_shared_with_the_plain_object_and_limits(self, app: FaceAnalysis):
        for each in (app, app.for_person(Person()), app.for_person(SECOND_FROM_LEFT)):
            for limit in (0, 1, 2):
                each.get(THREE_FACES, limit)
                each.det_model.detect(THREE_FACES, max_num=limit)
        assert calls(app) == 1

    def test_batches_are_shared_with_the_plain_object(self, app: FaceAnalysis):
        images = Images.from_comfy(images_with(3, 2))
        for each in (app, app.for_person(Person()), app.for_person(SECOND_FROM_LEFT)):
            each.analyze(images)
        assert calls(app) == 1

    def test_embeddings_are_worked_out_for_a_reference_alone_and_once(
        self, app: FaceAnalysis, monkeypatch: pytest.MonkeyPatch
    ):
        described: list[tuple[str, int]] = []
        describe = app.analyzer.describe

        def noted(images: Any, faces: Any, tasks: Any, *more: Any) -> Any:
            described.extend((task, len(faces)) for task in tasks)
            return describe(images, faces, tasks, *more)

        monkeypatch.setattr(app.analyzer, "describe", noted)
        assert found(app.for_person(SECOND_FROM_LEFT)) == [0] and described == []
        wanted = reference(app, 1)
        assert described == [("recognition", 1)]
        chosen = app.for_person(Person(reference=wanted))
        (face,) = chosen.get(THREE_FACES)
        assert described == [("recognition", 1), ("recognition", 2)], "one of three was known"
        assert np.array_equal(face.embedding, wanted.vector[0].numpy())
        for each in app.get(THREE_FACES):
            assert each.embedding is not None
        chosen.get(THREE_FACES)
        assert len(described) == 2

    def test_only_the_faces_that_are_given_are_described(
        self, app: FaceAnalysis, monkeypatch: pytest.MonkeyPatch
    ):
        described: list[int] = []
        describe = app.analyzer.describe

        def noted(images: Any, faces: Any, tasks: Any, *more: Any) -> Any:
            described.append(len(faces))
            return describe(images, faces, tasks, *more)

        monkeypatch.setattr(app.analyzer, "describe", noted)
        chosen = app.for_person(SECOND_FROM_LEFT)
        for picture in (THREE_FACES, THREE_FACES + (np.arange(64)[:, None, None] > 0)):
            (face,) = chosen.get(picture.astype(np.uint8))
            assert face.embedding is not None and face["embedding"] is not None
        assert described == [1, 1]
        described.clear()
        three = THREE_FACES.copy()
        three[9, 9] = 1
        for face in app.for_person(Person("left to right", keep="first")).get(three, 2):
            assert face.embedding is not None
        assert described == [1, 1], "the third, which a limit left out, is not described"

    def test_a_batch_again_is_answered_from_the_cache(self, app: FaceAnalysis):
        images = Images.from_comfy(images_with(3, 2))
        chosen = app.for_person(Person(reference=reference(app, 1)))
        first = chosen.analyze(images)
        misses = BATCHES.status().misses
        again = chosen.analyze(images)
        assert BATCHES.status().misses == misses
        assert torch.equal(first.boxes, again.boxes) and len(first) == 2
        assert first.embeddings is None, "faces have what was asked for"


class TestShrinkLoops:
    def test_every_size_is_tried_until_the_person_is_there(self, app: FaceAnalysis, monkeypatch):
        detector: Any = app.analyzer.model("detection")
        detect, sizes = detector.detect, []

        def smaller_sees_more(batch: Any, options: DetectionOptions) -> Any:
            sizes.append(options.sizes_wh[0][0])
            faces = detect(batch, options)
            return faces if sizes[-1] < 500 else faces[:2]

        monkeypatch.setattr(detector, "detect", smaller_sees_more)
        chosen = app.for_person(Person("left to right", 2))
        faces: list[Any] = []
        for size in range(640, 128, -64):
            chosen.det_model.input_size = (size, size)
            faces = chosen.get(THREE_FACES)
            if faces:
                break
        assert sizes == [640, 576, 512, 448]
        assert [face.bbox.tolist() for face in faces] == [BOXES[2]]

    @pytest.mark.parametrize("keep", ["only", "first"])
    def test_one_line_an_image_says_that_nobody_fits(self, app: FaceAnalysis, keep: str, caplog):
        chosen = app.for_person(Person("largest", 5, keep=keep))
        other = THREE_FACES.copy()
        other[5, 5] = 9
        with caplog.at_level(logging.WARNING, "FastFace"):
            for picture in (THREE_FACES, other):
                for size in range(640, 128, -64):
                    chosen.det_model.input_size = (size, size)
                    chosen.get(picture)
        assert len(caplog.records) == 2
        message = caplog.records[0].getMessage()
        assert message.startswith(
            "FastFace Person: none of 3 faces is face 5 (counted from 0) by largest; "
        )
        assert ("no face is given" in message) == (keep == "only")

    def test_one_line_a_batch_names_the_images_and_the_best_similarity(
        self, app: FaceAnalysis, caplog
    ):
        nobody = Embedding(torch.tensor([[-1.0, -9.0, -1.0]]), app.analyzer.embedding_space)
        chosen = app.for_person(Person(reference=nobody))
        with caplog.at_level(logging.WARNING, "FastFace"):
            assert len(chosen.analyze(Images.from_comfy(images_with(3, 0, 1)))) == 0
        (record,) = caplog.records
        assert "in 2 of 3 images (counted from 0: 0, 2) no face is" in record.getMessage()
        assert "the best similarity is -0.11" in record.getMessage()


class TestForeignDetectors:
    def test_a_detector_that_was_put_there_finds_and_the_person_is_chosen(self, app: FaceAnalysis):
        chosen = app.for_person(Person("left to right", 1, keep="first"))
        boxes = np.array([[50, 0, 60, 9, 0.9], [0, 0, 9, 9, 0.8], [20, 0, 30, 9, 0.7]], np.float32)
        asked: list[int] = []

        def detect(img: np.ndarray, max_num: int = 0, metric: str = "default") -> tuple:
            asked.append(max_num)
            return boxes, None

        chosen.det_model.detect = detect  # type: ignore[method-assign]
        lefts = [int(face.bbox[0]) for face in chosen.get(THREE_FACES, 2)]
        assert lefts == [20, 50] and asked == [0]
        app.det_model.detect = detect  # type: ignore[method-assign]
        assert len(app.get(THREE_FACES, 2)) == 3 and asked == [0, 2], "as before, it limits itself"

    def test_what_wraps_our_detector_does_not_choose_twice(self, app: FaceAnalysis):
        chosen = app.for_person(SECOND_FROM_LEFT)
        ours = chosen.det_model.detect
        chosen.det_model.detect = lambda *args, **kwargs: ours(*args, **kwargs)  # type: ignore[method-assign]
        assert found(chosen) == [0]
        assert len(ours(THREE_FACES)[0]) == 1, "outside of get it chooses as before"


class TestAnObjectOfItsOwn:
    def test_is_as_the_other_was_loaded(self, app: FaceAnalysis):
        loaded = FaceAnalysis(
            app.analyzer, DetectionOptions(((320, 256),), 0.3, 0.2), 4, "no", "why", ["recognition"]
        )
        loaded.det_model.input_size = (192, 192)
        loaded.get = lambda *_: []  # type: ignore[method-assign]
        chosen = loaded.for_person(Person())
        assert (chosen.det_thresh, chosen.det_size, chosen.max_faces) == (0.3, (320, 256), 4)
        assert (chosen.why, chosen.tasks) == ("why", ["recognition"])
        assert chosen.analyzer is app.analyzer and len(chosen.get(THREE_FACES)) == 1
        chosen.prepare(det_size=(64, 64))
        assert loaded.options() == chosen.options() == DetectionOptions(((320, 256),), 0.3, 0.2)

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
    def test_copies_look_for_the_same_person(self, app: FaceAnalysis, again: Any):
        wanted = Person(reference=reference(app, 1), mask=torch.ones(2, 2))
        twin = again(app.for_person(wanted))
        assert found(twin) == [1] and len(twin.order.persons) == 1


class TestRefusals:
    def test_recognition_was_left_out(self, app: FaceAnalysis):
        wanted = Person(reference=reference(app, 0))
        without = FaceAnalysis(app.analyzer, tasks=[])
        with pytest.raises(InvalidInput, match="left out by heads"):
            without.for_person(wanted)
        assert found(without.for_person(Person())) == [2]

    def test_the_pack_has_none(self, app: FaceAnalysis, tmp_path: Path):
        folder = tmp_path / "other"
        folder.mkdir()
        with pytest.raises(ModelError, match="no recognition"):
            analysis_of(("detection",), folder).for_person(Person(reference=reference(app, 0)))

    def test_a_reference_of_another_pack(self, app: FaceAnalysis):
        with pytest.raises(InvalidInput, match="can't be compared"):
            app.for_person(Person(reference=Embedding(torch.ones(1, 3), "another")))

    def test_embeddings_that_consumers_are_refused_can_be_compared(self, app: FaceAnalysis):
        wanted = reference(app, 1)
        refusing = FaceAnalysis(app.analyzer, embedding_refusal="not an ArcFace pack")
        chosen = refusing.for_person(Person(reference=wanted))
        (face,) = chosen.get(THREE_FACES)
        assert face.bbox.tolist() == BOXES[1]
        with pytest.raises(InvalidInput, match="not an ArcFace"):
            face.embedding  # noqa: B018
