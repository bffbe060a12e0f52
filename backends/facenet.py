"""Backend `facenet`: facenet-pytorch's MTCNN, whose trained weights come in its wheel."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..utils.devices import torch_devices
from ..utils.errors import BackendUnavailable, ModelError
from ..utils.faces import Faces
from ..utils.images import ImageBatch
from ..utils.packs import ModelFile, ModelPack
from ..utils.stages import stage
from .base import Backend, DetectionOptions, Detector, Head, Placement, RunsOn
from .torch_placement import placed_in_torch

PACK_NAME = "facenet-mtcnn"


class FacenetBackend(Backend):
    """Detects faces with no download at all; it has no InsightFace embeddings."""

    name = "facenet"

    def missing(self) -> str | None:
        for module in ("facenet_pytorch", "torchvision"):
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed; run `python install.py` in the pack's folder"
        return None

    def devices(self) -> tuple[str, ...]:
        return () if self.missing() else torch_devices()

    def packs(self) -> tuple[ModelPack, ...]:
        spec = importlib.util.find_spec("facenet_pytorch")
        if spec is None or spec.origin is None:
            return ()
        folder = Path(spec.origin).parent / "data"
        return (
            ModelPack(
                name=PACK_NAME,
                folder=folder,
                models=(ModelFile(path=folder / "onet.pt", task="detection"),),
                licence="MIT (facenet-pytorch)",
                origin="the facenet-pytorch wheel",
                # MTCNN gives hands and ashtrays 0.87; facenet-pytorch itself selects above 0.9.
                det_threshold=0.9,
            ),
        )

    def accepts(self, pack: ModelPack) -> str | None:
        if pack.name == PACK_NAME:
            return None
        return (
            f"it has weights of its own and does not run {pack.name!r}; "
            f"choose model_pack {PACK_NAME!r}, or another backend"
        )

    def embedding_refusal(self, pack: ModelPack) -> str | None:
        return (
            f"these faces come from {PACK_NAME} (facenet-pytorch), which has no ArcFace embedding; "
            "InstantID, IPAdapter FaceID and PuLID need one: choose a model_pack such as "
            "antelopev2 or buffalo_l in FastFaceLoader"
        )

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        reason = self.missing() or self.accepts(pack)
        if reason:
            raise BackendUnavailable(f"backend {self.name!r}: {reason}")
        if task != "detection":
            raise ModelError(f"pack {pack.name!r} has no {task} model; choose an InsightFace pack")
        device, note = placed_in_torch(self.name, placement)
        return MtcnnDetector(device, note)


class MtcnnDetector:
    """Multi-task cascaded CNN.

    Source:
        Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
        Networks", arXiv:1604.02878, as facenet-pytorch 2.6 runs it.
    """

    #: It works on a pyramid of the whole image: `DetectionOptions.sizes_wh` has no effect.
    fixed_size_wh: tuple[int, int] | None = None

    def __init__(self, device: torch.device, note: str = "") -> None:
        """
        Args:
            device: Where it runs.
            note: Why that is not the device that was asked for, if it is not.

        Raises:
            BackendUnavailable: facenet-pytorch or torchvision is broken.
        """
        try:
            from facenet_pytorch import MTCNN
        except (ImportError, RuntimeError, OSError) as error:
            raise BackendUnavailable(
                f"facenet-pytorch can't be imported: {error}; run `python install.py doctor`"
            ) from error
        self.device = device
        self.runs_on = RunsOn(str(device), "torch", note=note)
        self._mtcnn: Any = MTCNN(keep_all=True, select_largest=False, device=device).eval()
        self._lock = threading.Lock()

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        """Every face of a batch of equal-sized images; see `Detector.detect`.

        `options.threshold` is applied on top of the library's own thresholds (0.6, 0.7, 0.7).
        """
        sizes = (batch.size_hw,) * len(batch.positions)
        if min(batch.size_hw) < self._mtcnn.min_face_size:
            # The library's pyramid has no level for such an image, and it fails.
            return Faces.empty(sizes, self.device)
        rgb = batch.to_uint8().flip(-1) if batch.bgr else batch.to_uint8()
        with self._lock, stage("detector"):
            found = self._mtcnn.detect(rgb.cpu().numpy(), landmarks=True)
        parts = [
            _image_faces(boxes, scores, points, size_hw)
            for boxes, scores, points, size_hw in zip(*found, sizes, strict=True)
        ]
        faces = Faces.cat(parts).to(self.device)
        return faces[faces.scores >= options.threshold]


def _image_faces(boxes: Any, scores: Any, points: Any, size_hw: tuple[int, int]) -> Faces:
    if boxes is None:
        return Faces.empty((size_hw,))
    order = np.argsort(-np.asarray(scores, dtype=np.float32), kind="stable")

    def column(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)[order])

    return Faces(
        boxes=column(boxes),
        scores=column(scores),
        image_index=torch.zeros(len(order), dtype=torch.int64),
        image_sizes=(size_hw,),
        landmarks=column(points),
    )
