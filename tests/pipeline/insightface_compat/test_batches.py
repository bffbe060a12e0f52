"""Batches of the nodes: the same is analysed once, on the CPU, and owned by who asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import BATCHES
from fastface.utils.errors import ModelError
from fastface.utils.images import Images
from tests.nodes.fakes import CountingDetector, analysis_of, images_with


@pytest.fixture
def app(tmp_path: Path) -> FaceAnalysis:
    return analysis_of(("detection", "recognition"), tmp_path)


def calls(app: FaceAnalysis) -> int:
    detector = app.analyzer.model("detection")
    assert isinstance(detector, CountingDetector)
    return detector.calls


def test_the_same_batch_is_analysed_once(app: FaceAnalysis):
    images = images_with(2, 0, 3)
    first = app.analyze(Images.from_comfy(images), ["recognition"])
    hits = BATCHES.status().hits
    again = app.analyze(Images.from_comfy(images.clone()), ["recognition"])
    assert calls(app) == 1 and BATCHES.status().hits == hits + 2
    assert dict(first.tensors()).keys() == dict(again.tensors()).keys()
    assert all(torch.equal(tensor, getattr(again, name)) for name, tensor in first.tensors())
    assert again.per_image() == [2, 0, 3]


def test_another_batch_other_settings_and_other_models_are_analysed_anew(app: FaceAnalysis):
    images = images_with(2, 0, 3)
    app.analyze(Images.from_comfy(images))
    app.analyze(Images.from_comfy(images[:2]))
    stricter = FaceAnalysis(app.analyzer, DetectionOptions(threshold=0.75))
    stricter.analyze(Images.from_comfy(images))
    assert calls(app) == 3
    other = FaceAnalysis(Analyzer(app.analyzer.pack, app.analyzer.backend, Placement()))
    other.analyze(Images.from_comfy(images))
    assert calls(app) == 4


def test_faces_that_differ_are_described_anew(app: FaceAnalysis):
    images = Images.from_comfy(images_with(2))
    faces = app.analyze(images)
    moved = faces.with_fields(boxes=faces.boxes * 2)
    one, other = (app.describe(images, each, ["recognition"]) for each in (faces, moved))
    assert one.embeddings is not None and other.embeddings is not None
    assert torch.equal(other.embeddings[:, 0], one.embeddings[:, 0] * 4)


def test_writing_to_an_answer_changes_no_other(app: FaceAnalysis):
    images = Images.from_comfy(images_with(2))
    first = app.analyze(images)
    kept = first.boxes.clone()
    first.boxes.zero_()
    assert torch.equal(app.analyze(images).boxes, kept)


def test_the_limit_is_that_of_the_object(app: FaceAnalysis):
    images = Images.from_comfy(images_with(3))
    assert len(app.analyze(images)) == 3
    app.max_faces = 1
    assert len(app.analyze(images)) == 1 and calls(app) == 1


def test_where_the_models_run_elsewhere_nothing_is_looked_up(app: FaceAnalysis):
    gpu = FaceAnalysis(Analyzer(app.analyzer.pack, app.analyzer.backend, Placement("cuda")))
    for _ in range(2):
        gpu.analyze(Images.from_comfy(images_with(1)))
    assert calls(gpu) == 2


def test_what_failed_or_was_interrupted_is_not_kept(app: FaceAnalysis):
    class Interrupted(BaseException):
        """As ComfyUI's own, in new versions."""

    def stop(done: int, total: int) -> None:
        raise Interrupted

    images = Images.from_comfy(images_with(2))
    with pytest.raises(Interrupted):
        app.analyze(images, on_progress=stop)
    assert len(app.analyze(images)) == 2 and calls(app) == 2
    with pytest.raises(ModelError):
        app.describe(images, app.analyze(images), ["genderage"])


def test_progress_reaches_its_end_when_the_answer_is_known(app: FaceAnalysis):
    images = Images.from_comfy(images_with(2))
    for _ in range(2):
        reported: list[tuple[int, int]] = []
        faces = app.analyze(images, on_progress=lambda *done: reported.append(done))  # noqa: B023
        assert reported[-1][0] == reported[-1][1]
        reported.clear()
        app.describe(images, faces, ["recognition"], lambda *done: reported.append(done))  # noqa: B023
        assert reported[-1][0] == reported[-1][1]
