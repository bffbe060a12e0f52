"""Backend `facenet`: MTCNN, whose trained weights come in facenet-pytorch's wheel, on tensors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..utils.devices import torch_devices
from ..utils.errors import BackendUnavailable, ModelError
from ..utils.packs import ModelFile, ModelPack
from .base import Backend, Detector, Head, Placement
from .cascade.mtcnn import Mtcnn
from .cascade.parameters import MtcnnParameters
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
        return Mtcnn(pack.folder, device, MtcnnParameters(), note)
