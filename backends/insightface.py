"""Backend `insightface`: the library itself, loaded once and checked; this pack's reference."""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor

from ..utils.errors import BackendUnavailable, InvalidInput, ModelError
from ..utils.faces import Faces
from ..utils.images import ImageBatch, Images
from ..utils.packs import ModelPack
from .base import Backend, DetectionOptions, Detector, Head, Placement, RunsOn
from .dropin.face import Face
from .dropin.frames import FACE_KEYS, faces_from_arrays
from .providers import listed_providers, parse_device, session_request
from .providers import probe as probe
from .providers.check import found_out

_log = logging.getLogger("FastFace")


_original_wanted: ContextVar[bool] = ContextVar("original_wanted", default=False)


def original_is_wanted() -> bool:
    """Whether this backend is making upstream's own object just now; see `replacement`."""
    return _original_wanted.get()


class InsightFaceBackend(Backend):
    """Runs upstream's `FaceAnalysis`, one image and one face at a time, as it does itself."""

    name = "insightface"

    def __init__(self) -> None:
        self._opened: LRUCache = LRUCache(maxsize=4)
        self._lock = threading.Lock()

    def missing(self) -> str | None:
        for module in ("insightface", "onnxruntime"):
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed; run `python install.py` in the pack's folder"
        return None

    def devices(self) -> tuple[str, ...]:
        if self.missing():
            return ()
        import onnxruntime

        return probe.usable_devices(onnxruntime)

    def accepts(self, pack: ModelPack) -> str | None:
        return None if any(pack.folder.glob("*.onnx")) else f"{pack.folder} holds no ONNX files"

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        models, runs_on = self._upstream(pack, placement)
        if task not in models:
            raise ModelError(
                f"insightface finds no {task} model in {pack.folder}, only {', '.join(models)}"
            )
        if task == "detection":
            return UpstreamDetector(models[task], runs_on[task])
        kind = UpstreamRecognizer if task == "recognition" else UpstreamHead
        return kind(models[task], runs_on[task])

    def _upstream(
        self, pack: ModelPack, placement: Placement
    ) -> tuple[dict[str, Any], dict[str, RunsOn]]:
        """Upstream's models by task, all loaded at once, as upstream does."""
        reason = self.missing()
        if reason:
            raise BackendUnavailable(f"backend {self.name!r}: {reason}")
        with self._lock:
            key = (pack.folder, placement)
            if key not in self._opened:
                self._opened[key] = _open_upstream(pack, placement)
            return self._opened[key]


def _open_upstream(
    pack: ModelPack, placement: Placement
) -> tuple[dict[str, Any], dict[str, RunsOn]]:
    try:
        import onnxruntime
        from insightface.app import FaceAnalysis
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendUnavailable(
            f"insightface can't be imported: {error}; run `python install.py doctor`"
        ) from error
    row, index = parse_device(placement.device)
    failure = probe.prepare(onnxruntime, row)
    listed = listed_providers(onnxruntime)
    # Upstream refuses nothing itself; strictness is checked on what came of it.
    asked, _ = session_request(row, index, strict=False, listed=listed)
    try:
        with _original_insightface():
            app = FaceAnalysis(name=str(pack.folder), providers=list(asked))
    except (AssertionError, OSError, *probe.runtime_errors(onnxruntime)) as error:
        raise ModelError(f"insightface can't load {pack.folder}: {error!r}") from error
    circumstances = probe.circumstances(onnxruntime, row, index, failure)
    runs_on = {
        task: found_out(row, index, model.session.get_providers(), None, circumstances)
        for task, model in app.models.items()
    }
    notes = {where.note for where in runs_on.values() if where.note}
    for note in notes:
        message = f"insightface was asked for {placement.device} and did not get it: {note}"
        if placement.strict:
            raise BackendUnavailable(message)
        _log.warning(message)
    return dict(app.models), runs_on


@contextmanager
def _original_insightface() -> Iterator[None]:
    token = _original_wanted.set(True)
    try:
        yield
    finally:
        _original_wanted.reset(token)


class UpstreamDetector:
    """insightface's detector, image by image."""

    device = torch.device("cpu")

    def __init__(self, model: Any, runs_on: RunsOn) -> None:
        self.session = model.session
        self.runs_on = runs_on
        self.fixed_size_wh = getattr(model, "static_input_size", None)
        self._model = model
        # Upstream keeps its thresholds on the model, which is shared here.
        self._lock = threading.Lock()

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces:
        """Every face of a batch of equal-sized images; see `Detector.detect`.

        Raises:
            InvalidInput: Several sizes were asked of an insightface older than 1.0.
        """
        only, *more = options.sizes_wh
        if more and not hasattr(self._model, "input_sizes"):
            raise InvalidInput(
                "this insightface takes one detection size at a time; choose detection 'standard', "
                "or update it with `pip install --no-deps -U insightface`"
            )
        # Older versions take one bare pair, newer ones a list of any length.
        size: Any = [only, *more] if more else only
        images = batch.to_uint8().numpy()
        found = []
        with self._lock:
            self._model.det_thresh = options.threshold
            self._model.nms_thresh = options.nms_threshold
            for image in images:
                bgr = np.ascontiguousarray(image if batch.bgr else image[..., ::-1])
                boxes, landmarks = self._model.detect(bgr, input_size=size)
                found.append(faces_from_arrays(boxes, landmarks, batch.size_hw))
        return Faces.cat(found)


class UpstreamHead:
    """One of insightface's other networks, face by face."""

    def __init__(self, model: Any, runs_on: RunsOn) -> None:
        self.task: str = model.taskname
        self.session = model.session
        self.runs_on = runs_on
        self._model = model

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        """Fields of `Faces` by name; see `Head.describe`."""
        cpu = faces.to("cpu")
        values: dict[str, list[Any]] = {name: [None] * len(faces) for name in self._fields()}
        for batch in images.chunks():
            pixels = batch.to_uint8().cpu().numpy()
            for position, image in zip(batch.positions, pixels, strict=True):
                bgr = np.ascontiguousarray(image if batch.bgr else image[..., ::-1])
                for row in (cpu.image_index == position).nonzero()[:, 0].tolist():
                    face = Face(bbox=cpu.boxes[row].numpy())
                    if cpu.landmarks is not None:
                        face.kps = cpu.landmarks[row].numpy()
                    self._model.get(bgr, face)
                    for key, name in FACE_KEYS[self.task].items():
                        values[name][row] = torch.as_tensor(face[key])
        return {name: torch.stack(rows).to(faces.device) for name, rows in values.items()}

    def _fields(self) -> list[str]:
        return list(FACE_KEYS[self.task].values())


class UpstreamRecognizer(UpstreamHead):
    """insightface's recognition network, which also takes crops that are already aligned."""

    device = torch.device("cpu")

    def __init__(self, model: Any, runs_on: RunsOn) -> None:
        super().__init__(model, runs_on)
        self.size: int = model.input_size[0]

    def embed(self, crops: ImageBatch) -> Tensor:
        """Embeds aligned crops; see `Recognizer.embed`."""
        pixels = crops.pixels if crops.bgr else crops.pixels.flip(-1)
        bgr = pixels.contiguous().numpy()
        return torch.cat([torch.from_numpy(self._model.get_feat(crop)) for crop in bgr])
