"""The `FaceAnalysis` object by itself, with models that are no networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.pool import forget_analyzers, shared_analyzer
from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from fastface.utils.packs import ModelFile, ModelPack
from tests.nodes.fakes import (
    BOXES,
    SCORES,
    SIZE_HW,
    CountingDetector,
    FakeBackend,
    analysis_of,
    images_with,
)

#: The first pixel says how many faces there are.
THREE_FACES = np.full((*SIZE_HW, 3), 3, dtype=np.uint8)
NO_FACE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)


class Detector(CountingDetector):
    """Takes pictures of 8 bits too: 3 as 0.3."""

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        if batch.pixels.dtype == torch.uint8:
            batch = ImageBatch(batch.pixels / 10, batch.positions, batch.bgr)
        return super().detect(batch, options)


@pytest.fixture
def app(tmp_path: Path) -> FaceAnalysis:
    face_analysis = analysis_of(("detection", "recognition"), tmp_path)
    backend = face_analysis.analyzer.backend
    assert isinstance(backend, FakeBackend)
    backend.detector = Detector()
    return face_analysis


@pytest.fixture
def pack(tmp_path: Path) -> ModelPack:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"weights")
    return ModelPack("fake", tmp_path, (ModelFile(path, "detection"),))


class TestGet:
    def test_no_face(self, app: FaceAnalysis):
        assert app.get(NO_FACE) == []

    def test_faces_by_falling_score(self, app: FaceAnalysis):
        faces = app.get(THREE_FACES)
        assert [face.bbox.tolist() for face in faces] == BOXES
        assert [float(face.det_score) for face in faces] == pytest.approx(SCORES)
        for face in faces:
            assert face.bbox.dtype == face.kps.dtype == np.float32
            assert face.bbox.shape == (4,) and face.kps.shape == (5, 2)
            assert np.isscalar(face.det_score) and face.det_score.dtype == np.float32

    @pytest.mark.parametrize(
        ("limit", "max_num", "count"), [(0, 0, 3), (2, 0, 2), (2, 1, 1), (1, 3, 3)]
    )
    def test_limits(self, app: FaceAnalysis, limit: int, max_num: int, count: int):
        app.max_faces = limit
        assert len(app.get(THREE_FACES, max_num)) == len(app.get(THREE_FACES, max_num=max_num))
        assert len(app.get(THREE_FACES, max_num)) == count

    def test_a_detector_without_landmarks(self, app: FaceAnalysis, monkeypatch: pytest.MonkeyPatch):
        detector: Any = app.analyzer.backend.detector  # type: ignore[attr-defined]
        detect = detector.detect

        def boxes_only(batch: ImageBatch, options: DetectionOptions) -> Faces:
            return detect(batch, options).with_fields(landmarks=None)

        monkeypatch.setattr(detector, "detect", boxes_only)
        boxes, points = app.det_model.detect(THREE_FACES)
        assert boxes.shape == (3, 5) and points is None
        assert [face.kps for face in app.get(THREE_FACES)] == [None] * 3

    def test_a_refusal_is_for_every_face(self, app: FaceAnalysis):
        refusing = FaceAnalysis(app.analyzer, embedding_refusal="not an ArcFace pack")
        for face in refusing.get(THREE_FACES):
            with pytest.raises(InvalidInput, match="not an ArcFace pack"):
                face.embedding  # noqa: B018


class TestSettings:
    def test_what_it_begins_with(self, app: FaceAnalysis, tmp_path: Path):
        assert (app.det_thresh, app.det_size, app.max_faces) == (0.5, (640, 640), 0)
        assert app.model_dir == str(tmp_path)
        assert list(app.models) == ["detection", "recognition"]
        given = FaceAnalysis(app.analyzer, DetectionOptions(((320, 256),), 0.3, 0.2), 4)
        assert (given.det_thresh, given.det_size, given.max_faces) == (0.3, (320, 256), 4)
        assert given.det_model.nms_thresh == 0.2

    def test_size_and_threshold_are_one_with_the_detectors(self, app: FaceAnalysis):
        app.det_thresh, app.det_size = 0.25, [(128, 128), (320, 320)]
        assert app.det_model.det_thresh == 0.25
        assert app.det_model.input_sizes == ((128, 128), (320, 320))
        assert app.det_model.input_size == (320, 320)
        app.det_model.input_size = (96, 64)
        assert app.det_size == (96, 64)

    def test_numpy_thresholds_are_taken(self, app: FaceAnalysis):
        app.det_model.det_thresh = np.array(0.3)
        app.det_model.nms_thresh = np.float32(0.3)
        assert len(app.get(THREE_FACES)) == 3

    def test_consumers_do_not_set_what_the_packs_nodes_use(self, app: FaceAnalysis):
        loaded = app.options()
        app.prepare(0, 0.1, (32, 32))
        app.det_model.nms_thresh = 0.9
        assert app.options() == loaded == DetectionOptions()


class TestToCpu:
    @pytest.fixture(autouse=True)
    def empty_pool(self) -> Iterator[None]:
        forget_analyzers()
        yield
        forget_analyzers()

    @pytest.fixture
    def analyzer(self, pack: ModelPack) -> Any:
        return shared_analyzer(pack, FakeBackend(), Placement("cuda:1", "fp16", strict=True))

    @pytest.mark.parametrize(
        "move",
        [
            lambda app: app.prepare(ctx_id=-1),
            lambda app: app.det_model.prepare(-1),
            lambda app: app.models["detection"].prepare(ctx_id=-7, input_size=(320, 320)),
        ],
    )
    def test_a_negative_context_moves_this_object_alone(self, analyzer: Any, move: Any):
        app, other = FaceAnalysis(analyzer), FaceAnalysis(analyzer)
        move(app)
        assert app.analyzer.placement == Placement("cpu", "fp32", strict=True)
        assert app.analyzer.pack is analyzer.pack and app.analyzer.backend is analyzer.backend
        assert other.analyzer is analyzer
        move(other)
        assert other.analyzer is app.analyzer, "on the CPU too the models are shared"

    @pytest.mark.parametrize("ctx_id", [0, 1])
    def test_any_other_context_leaves_it_where_it_is(self, analyzer: Any, ctx_id: int):
        app = FaceAnalysis(analyzer)
        app.prepare(ctx_id=ctx_id)
        assert app.analyzer is analyzer

    def test_on_the_cpu_nothing_moves(self, app: FaceAnalysis):
        before = app.analyzer
        app.prepare(ctx_id=-1)
        assert app.analyzer is before


class TestAnalyze:
    def test_no_images(self, app: FaceAnalysis):
        faces = app.analyze(Images.from_comfy(images_with()), ["recognition"])
        assert len(faces) == 0 and faces.embeddings is not None

    def test_tasks_are_added(self, app: FaceAnalysis):
        images = Images.from_comfy(images_with(2, 0, 3))
        faces = app.analyze(images)
        assert faces.per_image() == [2, 0, 3] and faces.embeddings is None
        assert torch.equal(
            app.analyze(images, ["recognition"]).embeddings,  # type: ignore[arg-type]
            app.describe(images, faces, ["recognition"]).embeddings,  # type: ignore[arg-type]
        )

    def test_the_limit_holds_for_each_image(self, app: FaceAnalysis):
        app.max_faces = 1
        assert app.analyze(Images.from_comfy(images_with(3, 0, 1))).per_image() == [1, 0, 1]

    def test_progress_goes_from_nothing_to_all_once(self, app: FaceAnalysis):
        seen: list[float] = []
        images = Images.from_comfy(images_with(*[2] * 20))
        app.analyze(images, ["recognition"], lambda done, total: seen.append(done / total))
        assert seen == sorted(seen) and seen[-1] == 1.0 and 0 < seen[0] < 0.5

    def test_a_task_that_the_pack_lacks(self, app: FaceAnalysis):
        with pytest.raises(ModelError, match="has no genderage model"):
            app.analyze(Images.from_comfy(images_with(1)), ["genderage"])


@pytest.mark.parametrize("images", [torch.zeros(0, 8, 8, 3), images_with(0, 0)])
def test_progress_reaches_its_end_with_nothing_found(
    app: FaceAnalysis, images: torch.Tensor
) -> None:
    reported: list[tuple[int, int]] = []
    checked = Images.from_comfy(images)
    app.analyze(checked, ["recognition"], lambda done, total: reported.append((done, total)))
    shares = [done / total for done, total in reported]
    assert shares == sorted(shares)
    assert shares[-1] == 1
