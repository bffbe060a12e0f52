"""A face analysis without networks: an image says itself how many faces it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastface.backends.base import Backend
from fastface.backends.interfaces import DetectionOptions, Detector, Head
from fastface.backends.placement import Placement, RunsOn
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from fastface.utils.packs import ModelFile, ModelPack

#: Best score first; the last one is the largest, the second reaches beyond the image's border.
BOXES = [[10.0, 5.0, 30.0, 35.0], [-6.0, 40.0, 14.0, 70.0], [40.0, 20.0, 80.0, 60.0]]
SCORES = [0.9, 0.8, 0.7]
SIZE_HW = (64, 96)


def images_with(*faces: int) -> Tensor:
    """An IMAGE `[B,H,W,3]` whose images have these numbers of faces, up to three."""
    images = torch.full((len(faces), *SIZE_HW, 3), 0.5)
    for image, count in zip(images, faces, strict=True):
        image[0, 0, 0] = count / 10
    return images


class CountingDetector:
    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")
    fixed_size_wh = None

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        self.calls += 1
        full = 255 if batch.pixels.dtype == torch.uint8 else 1
        said = (batch.pixels[:, 0, 0, 0].float() * 10 / full).round().int()
        counts = said.clamp(max=len(BOXES)).tolist()
        boxes = torch.tensor([box for n in counts for box in BOXES[:n]]).reshape(-1, 4)
        scores = torch.tensor([score for n in counts for score in SCORES[:n]])
        index = torch.tensor([i for i, n in enumerate(counts) for _ in range(n)], dtype=torch.int64)
        spread = torch.tensor([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.75], [0.65, 0.75]])
        landmarks = boxes[:, None, :2] + spread * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return Faces(boxes, scores, index, tuple([batch.size_hw] * len(counts)), landmarks)


class AreaRecogniser:
    task = "recognition"
    runs_on = RunsOn("cpu", "fake")

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).unbind(1)
        rows = torch.stack([width * height, faces.image_index.float(), faces.scores], dim=1)
        return {"embeddings": rows}


class SteadyRecogniser(AreaRecogniser):
    """Says the same of a face whatever batch its image is in."""

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        rows = super().describe(images, faces)["embeddings"]
        return {"embeddings": rows * torch.tensor([1.0, 0.0, 1.0])}


class FakeBackend(Backend):
    name = "fake"

    def __init__(self, recogniser: type[AreaRecogniser] = AreaRecogniser) -> None:
        self.detector = CountingDetector()
        self._recogniser = recogniser

    def why_unavailable(self) -> str | None:
        return None

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        pack.model(task)
        return self.detector if task == "detection" else self._recogniser()


def analysis_of(
    tasks: tuple[str, ...], folder: Path, recogniser: type[AreaRecogniser] = AreaRecogniser
) -> FaceAnalysis:
    models = []
    for task in tasks:
        path = folder / f"{task}.onnx"
        path.write_bytes(b"weights")
        models.append(ModelFile(path, task, output_shapes=((None, 3),)))
    pack = ModelPack("fake", folder, tuple(models))
    return FaceAnalysis(Analyzer(pack, FakeBackend(recogniser), Placement()))
