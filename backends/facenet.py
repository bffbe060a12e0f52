"""Backend `facenet`: facenet-pytorch's networks on tensors; MTCNN's weights come in its wheel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..utils.devices import DeviceWord, torch_devices
from ..utils.errors import BackendUnavailable
from ..utils.modules import has_module
from ..utils.packs import ModelFile, ModelPack, Task
from ..utils.packs.checksums import model_states
from ..utils.packs.licences import PACK_LICENCES
from .base import Backend, Parameters
from .facenet_networks.embedding_weights import EMBEDDING_WEIGHTS, MTCNN_PACK, EmbeddingWeights
from .facenet_networks.networks import (
    STAGES,
    InceptionNetwork,
    MtcnnNetworks,
    open_inception,
    open_mtcnn,
    stage_file,
)
from .facenet_networks.parameters import IMAGE_SIZE, MtcnnParameters
from .interfaces import DetectionOptions
from .placement import Placement, placed_in_torch

_DIMENSIONS = 512
#: MTCNN gives hands and ashtrays 0.87; facenet-pytorch itself selects above 0.9.
_DET_THRESHOLD = 0.9


@dataclass(frozen=True)
class FacenetBackend(Backend):
    """Detects faces with no download at all; its embeddings are not InsightFace's.

    Attributes:
        parameters: What the user set of the library's parameters.
    """

    name = "facenet"
    parameters: MtcnnParameters = field(default_factory=MtcnnParameters)

    def why_unavailable(self) -> str | None:
        for module in ("facenet_pytorch", "torchvision"):
            if not has_module(module):
                return f"{module} is not installed; run `python install.py` in the pack's folder"
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        return () if self.why_unavailable() else torch_devices()

    def packs(self) -> tuple[ModelPack, ...]:
        spec = importlib.util.find_spec("facenet_pytorch")
        if spec is None or spec.origin is None:
            return ()
        folder = Path(spec.origin).parent / "data"
        stages = [stage_file(folder, name) for name in STAGES]
        detector = ModelPack(
            name=MTCNN_PACK,
            folder=folder,
            models=(_as_it_is(ModelFile(stages[-1], "detection"), stages),),
            licence=PACK_LICENCES[MTCNN_PACK].terms,
            origin="the facenet-pytorch wheel",
            det_threshold=_DET_THRESHOLD,
        )
        return (detector, *(_with_embeddings(detector, w) for w in EMBEDDING_WEIGHTS.values()))

    def obtain(
        self, pack: ModelPack, download: bool, on_download: Callable[[int, int], None] | None
    ) -> ModelPack:
        if pack.name in EMBEDDING_WEIGHTS:
            EMBEDDING_WEIGHTS[pack.name].obtain(download, on_download)
        return self.reread(pack)

    def reread(self, pack: ModelPack) -> ModelPack:
        return next(each for each in self.packs() if each.name == pack.name)

    def with_parameters(self, parameters: Parameters) -> Backend:
        if isinstance(parameters, MtcnnParameters):
            return FacenetBackend(parameters)
        return super().with_parameters(parameters)

    def why_unsupported(self, pack: ModelPack) -> str | None:
        if pack.name == MTCNN_PACK or pack.name in EMBEDDING_WEIGHTS:
            return None
        return (
            f"it has weights of its own and does not run {pack.name!r}; "
            f"choose model_pack {MTCNN_PACK!r}, or another backend"
        )

    def embedding_refusal(self, pack: ModelPack) -> str | None:
        if "recognition" in pack.tasks:
            why = (
                f"whose embeddings are not ArcFace's, though they are as long: only those of space "
                f"{pack.space!r} can be compared with them, as FastFace Embed gives them"
            )
        else:
            why = "which has no ArcFace embedding"
        return (
            f"these faces come from {pack.name} (facenet-pytorch), {why}; InstantID, IPAdapter "
            "FaceID and PuLID need ArcFace's: choose a model_pack such as antelopev2 or buffalo_l "
            "in FastFaceLoader"
        )

    def detection_settings(self, pack: ModelPack, options: DetectionOptions) -> str:
        parameters = self.parameters
        return (
            f"{parameters.min_face_size} pixels and more, "
            f"thresholds {', '.join(f'{value:g}' for value in parameters.thresholds)}, "
            f"factor {parameters.factor:g}, margin {parameters.margin}, "
            f"selection {parameters.selection_method}"
        )

    def open(
        self, pack: ModelPack, task: Task, placement: Placement
    ) -> MtcnnNetworks | InceptionNetwork:
        reason = self.why_unavailable() or self.why_unsupported(pack)
        if reason:
            raise BackendUnavailable(f"backend {self.name!r}: {reason}")
        path = pack.model(task).path
        device, note = placed_in_torch(self.name, placement)
        if task == "recognition":
            return InceptionNetwork(open_inception(path, device, note), self.parameters.margin)
        return open_mtcnn(path.parent, device, self.parameters, note)


def _as_it_is(model: ModelFile, paths: Sequence[Path]) -> ModelFile:
    """A model with the files it consists of, once they are there."""
    own, *further = sorted(paths, key=lambda path: path != model.path)
    there = all(path.is_file() for path in paths)
    return replace(model, files=model_states(own, *further)) if there else model


def _with_embeddings(detector: ModelPack, weights: EmbeddingWeights) -> ModelPack:
    recognition = ModelFile(
        path=weights.path,
        task="recognition",
        input_shape=(None, 3, IMAGE_SIZE, IMAGE_SIZE),
        output_shapes=((None, _DIMENSIONS),),
        sha256=weights.sha256,
    )
    return ModelPack(
        name=weights.pack_name,
        folder=detector.folder,
        models=(*detector.models, _as_it_is(recognition, [recognition.path])),
        licence=weights.licence,
        origin=f"the facenet-pytorch wheel, and {weights.origin}",
        det_threshold=_DET_THRESHOLD,
        space=weights.pack_name,
    )
