"""Holding models against a reference: what each task is compared by, and what is too far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.base import Backend
from fastface.backends.interfaces import Detector, Head
from fastface.backends.placement import Placement, RunsOn
from fastface.pipeline.accuracy_check import AccuracyCheck
from fastface.pipeline.analyzer import Analyzer
from fastface.utils.accuracy_report import AccuracyReport
from fastface.utils.errors import ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack

TASKS = ("detection", "landmark_3d_68", "landmark_2d_106", "genderage", "recognition")
MODELS = tuple(ModelFile(Path(f"{task}.onnx"), task) for task in TASKS)
PACK = ModelPack("five", Path(), MODELS, space="of the test")
IMAGES = Images.from_bgr(np.full((200, 300, 3), 90, np.uint8))
ANSWERS: dict[str, dict[str, Tensor]] = {
    "landmark_3d_68": {"landmarks_68": torch.rand(2, 68, 3), "pose": torch.rand(2, 3)},
    "landmark_2d_106": {"landmarks_106": torch.rand(2, 106, 2)},
    "genderage": {"gender": torch.tensor([0, 1]), "age": torch.tensor([30, 40])},
    "recognition": {"embeddings": torch.rand(2, 16) + 0.1},
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are opened from files."""
    monkeypatch.chdir(tmp_path)
    for model in MODELS:
        model.path.write_bytes(b"weights")


class FakeDetector:
    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")
    fixed_size_wh = None

    def __init__(self, off_px: float = 0.0, faces: int = 2) -> None:
        self._off_px = off_px
        self._faces = faces

    def detect(self, batch: Any, options: Any) -> Faces:
        boxes = torch.tensor([[10.0, 10, 60, 70], [110, 20, 170, 90]]) + self._off_px
        return Faces(
            boxes=boxes[: self._faces],
            scores=torch.tensor([0.9, 0.8])[: self._faces],
            landmarks=torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0))[: self._faces]
            + self._off_px / 4,
            image_index=torch.zeros(self._faces, dtype=torch.int64),
            image_sizes=(batch.size_hw,),
        )


class FakeHead:
    runs_on = RunsOn("cpu", "fake")

    def __init__(self, task: str, **changes: Tensor) -> None:
        self.task = task
        self._answer = ANSWERS[task] | changes

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        return self._answer


class Reference(Backend):
    """A backend whose answers are the ones above."""

    name = "reference"

    def __init__(self, faces: int = 2) -> None:
        self._faces = faces

    def why_unavailable(self) -> str | None:
        return None

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        return FakeDetector(faces=self._faces) if task == "detection" else FakeHead(task)


def examination(faces: int = 2) -> AccuracyCheck:
    reference = Analyzer(PACK, Reference(faces), Placement("cpu", "fp32"))
    return AccuracyCheck(reference, IMAGES, ((640, 640),))


@pytest.mark.parametrize("task", TASKS)
def test_equal_answers_are_fit(task: str):
    model = FakeDetector() if task == "detection" else FakeHead(task)
    told = examination().examine(task, model)
    assert told.is_fit and told.faces == 2 and told.reference == "reference fp32 on cpu"
    assert AccuracyReport.from_json(told.as_json()) == told
    assert "fit on 2 faces against reference" in str(told)


@pytest.mark.parametrize(
    ("task", "model", "reason"),
    [
        ("detection", FakeDetector(off_px=2.5), "boxes off by 2.50 px"),
        ("detection", FakeDetector(off_px=8), "landmarks off by 2.00 px"),
        ("detection", FakeDetector(faces=1), "1 faces missed"),
        ("landmark_3d_68", {"landmarks_68": 1.5}, "landmarks 1.50 px off"),
        ("landmark_3d_68", {"pose": 1.2}, "pose 1.20 degrees off"),
        ("landmark_2d_106", {"landmarks_106": 1.1}, "landmarks 1.10 px off"),
        ("genderage", {"age": 2}, "age 2 years off"),
        ("genderage", {"gender": 1}, "2 faces of another gender"),
        ("recognition", {"embeddings": torch.linspace(-1, 1, 16)}, "cosine of embeddings down"),
        ("recognition", {"embeddings": float("nan")}, "cosine of embeddings down to nan"),
        ("landmark_2d_106", {"landmarks_106": float("nan")}, "landmarks nan px off"),
    ],
)
def test_answers_too_far_off_are_unfit(task: str, model: Any, reason: str):
    if isinstance(model, dict):
        changes = {name: ANSWERS[task][name] + off for name, off in model.items()}
        model = FakeHead(task, **changes)
    told = examination().examine(task, model)
    assert told.verdict == "unfit" and reason in "; ".join(told.reasons), told


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("landmark_2d_106", {"landmarks_106": 0.9}),
        ("landmark_3d_68", {"pose": 0.9}),
        ("genderage", {"age": 1}),
    ],
)
def test_answers_a_little_off_are_fit(task: str, changes: dict[str, float]):
    answers = {name: ANSWERS[task][name] + off for name, off in changes.items()}
    assert examination().examine(task, FakeHead(task, **answers)).is_fit


@pytest.mark.parametrize("task", TASKS)
def test_without_faces_nothing_is_known(task: str):
    model = FakeDetector(faces=0) if task == "detection" else FakeHead(task)
    told = examination(faces=0).examine(task, model)
    assert told.verdict == "untested" and "finds no face in the 1 images" in told.reasons[0]


def test_a_model_of_another_kind_is_an_error():
    with pytest.raises(ModelError, match="expected a detector"):
        examination().examine("detection", FakeHead("genderage"))
    with pytest.raises(ModelError, match="expected a head"):
        examination().examine("genderage", FakeDetector())


@pytest.mark.parametrize("told", [{}, {"verdict": "fit"}, []])
def test_notes_that_say_nothing_are_untested(told: Any):
    assert AccuracyReport.from_json(told).verdict == "untested"
