"""Backend `insightface`: the library itself, loaded once and checked; this pack's reference."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from cachetools import LRUCache

from ..utils.detectors.scrfd import Scrfd
from ..utils.devices import DeviceWord
from ..utils.errors import BackendUnavailable
from ..utils.files import is_text
from ..utils.modules import has_module
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_bytes, content_of, unreplaced
from .base import Backend
from .interfaces import DetectionOptions, Detector, Head
from .onnx_graphs.foreign import foreign_graph
from .onnx_graphs.value_sizes import refuse_absurd_sizes
from .placement import Placement
from .providers import provider_probe
from .providers.check import resolve_actual_provider
from .providers.provider_table import parse_device
from .providers.request import OPENING_FACTOR, listed_providers, session_request
from .residency.evictable_model import EvictableModel
from .residency.model_registry import ModelName
from .sessions.insightface_models import (
    Upstream,
    UpstreamDetector,
    UpstreamHead,
    UpstreamRecognizer,
    make_model_stoppable,
)

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

    def why_unavailable(self) -> str | None:
        for module in ("insightface", "onnxruntime"):
            if not has_module(module):
                return f"{module} is not installed; run `python install.py` in the pack's folder"
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        if self.why_unavailable():
            return ()
        import onnxruntime

        return provider_probe.usable_devices(onnxruntime)

    def why_unsupported(self, pack: ModelPack) -> str | None:
        if not is_text(pack.folder):
            return (
                f"insightface can't open files in {pack.folder}, whose name is no Unicode text: "
                "rename the folder, or choose another backend"
            )
        if not any(pack.folder.glob("*.onnx")):
            return f"{pack.folder} holds no ONNX files"
        if pack.detector is not None:
            return (
                f"insightface loads the folder {pack.folder} as it is, with its own detector; "
                "choose another backend for another one"
            )
        families = {model.family for model in pack.models if model.task == "detection"}
        if families - {Scrfd.name}:
            return (
                f"insightface knows detectors of family {Scrfd.name} alone, and that of pack "
                f"{pack.name!r} is of {', '.join(map(str, families))}; choose another backend"
            )
        return None

    def detection_sizes(
        self, pack: ModelPack, options: DetectionOptions
    ) -> tuple[tuple[int, int], ...]:
        fixed = pack.model("detection").fixed_size_wh
        # Upstream stretches a look of any size to the only input that such a network takes.
        return (fixed,) if fixed else options.sizes_wh

    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Detector | Head:
        app = self._upstream(pack, placement)
        kind = {"detection": UpstreamDetector, "recognition": UpstreamRecognizer}
        return kind.get(task, UpstreamHead)(app, pack.model(task))

    def _upstream(self, pack: ModelPack, placement: Placement) -> EvictableModel[Upstream]:
        """Upstream's models, all loaded at once, as upstream does."""
        reason = self.why_unavailable()
        if reason:
            raise BackendUnavailable(f"backend {self.name!r}: {reason}")
        with self._lock:
            key = (pack.folder, *map(content_of, pack.models), placement)
            if key not in self._opened:
                tasks = ", ".join(pack.tasks)
                self._opened[key] = EvictableModel(
                    ModelName(pack.name, tasks, self.name, pack.folder.name),
                    partial(_open_unreplaced, pack),
                    placement,
                    sum(map(content_bytes, pack.models)),
                    opening_factor=OPENING_FACTOR,
                )
            return self._opened[key]


def _open_unreplaced(pack: ModelPack, placement: Placement) -> Upstream:
    with unreplaced(pack.models):
        return _open_upstream(pack, placement)


def _open_upstream(pack: ModelPack, placement: Placement) -> Upstream:
    try:
        import onnxruntime
        from insightface.app import FaceAnalysis
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendUnavailable(
            f"insightface can't be imported: {error}; run `python install.py doctor`"
        ) from error
    row, index = parse_device(placement.device)
    failure = provider_probe.prepare(onnxruntime, row)
    listed = listed_providers(onnxruntime)
    # Upstream refuses nothing itself; strictness is checked on what came of it.
    asked, _ = session_request(row, index, strict=False, listed=listed)
    with _original_insightface(), foreign_graph(pack.folder, "loaded by insightface"):
        for model in pack.models:
            refuse_absurd_sizes(model)
        app = FaceAnalysis(name=str(pack.folder), providers=list(asked))
    for model in app.models.values():
        make_model_stoppable(model)
    circumstances = provider_probe.circumstances(onnxruntime, row, index, failure)
    runs_on = {
        task: resolve_actual_provider(
            row, index, model.session.get_providers(), None, circumstances
        )
        for task, model in app.models.items()
    }
    notes = {where.note for where in runs_on.values() if where.note}
    for note in notes:
        message = f"insightface was asked for {placement.device} and did not get it: {note}"
        if placement.strict:
            raise BackendUnavailable(message)
        _log.warning(message)
    return Upstream(dict(app.models), runs_on)


@contextmanager
def _original_insightface() -> Iterator[None]:
    token = _original_wanted.set(True)
    try:
        yield
    finally:
        _original_wanted.reset(token)
