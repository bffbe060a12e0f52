"""This pack's backends as contestants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..backends.base import Backend, GraphBackend
from ..backends.interfaces import DetectionOptions
from ..backends.registry import all_backends
from ..backends.sessions.margin_session import MarginSession
from ..pipeline.choices import FAST
from ..pipeline.insightface_compat.facade import FaceAnalysis
from ..pipeline.insightface_compat.result_cache import forget_results
from ..pipeline.loading import load_for_pack
from ..utils.devices import DeviceWord
from ..utils.packs import ModelPack, Task
from ..utils.packs.read import read_pack
from ..utils.parity import Found, found
from ..utils.precision import Precision
from .benchmark_inputs import BenchmarkInputs
from .implementation import Implementation, Opened, Setting
from .upstream_calls import found_of, single_image_call
from .workloads import AGAIN, JOBS, NETWORK

#: It is measured as its users have it: see `implementations/insightface.py`.
_MEASURED_AS_PEER = "insightface"


def our_contestants() -> list[Implementation]:
    """One for each backend but the one that wraps a peer."""
    return [
        OurContestant(backend)
        for name, backend in all_backends().items()
        if name != _MEASURED_AS_PEER
    ]


class OurContestant(Implementation):
    """A backend of this pack, through the calls that nodes and consumers make."""

    is_ours = True

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend

    def why_unavailable(self) -> str | None:
        return self._backend.why_unavailable()

    def devices(self) -> tuple[DeviceWord, ...]:
        return self._backend.devices()

    def precisions(self, device: str) -> tuple[Precision, ...]:
        fast = (FAST,) if self._backend.proven_precisions(device) else ()
        return (*self._backend.precisions(device), *fast)

    def own_weights(self) -> str | None:
        packs = self._backend.packs()
        return packs[0].name if packs else None

    def variants(self, job: str) -> tuple[str, ...]:
        has_network = isinstance(self._backend, GraphBackend)
        return tuple(variant for variant in JOBS[job].variants if variant != NETWORK or has_network)

    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        packs = self._backend.packs()
        pack = packs[0] if packs else pack
        reason = self._backend.why_unsupported(pack)
        if reason is None and JOBS[job].needs_recognition and "recognition" not in pack.tasks:
            return f"{pack.name} has no recognition model"
        return reason

    def open(self, setting: Setting) -> OpenedOurs:
        packs = self._backend.packs()
        pack = packs[0] if packs else read_pack(setting.pack_name, Path(setting.pack_folder))
        # A threshold that was found for the pack says nothing about a backend's own weights.
        threshold = pack.det_threshold if packs else setting.threshold or pack.det_threshold
        options = DetectionOptions((setting.size_wh,), threshold)
        app = load_for_pack(pack, options, self._backend.name, setting.device, setting.precision)
        return OpenedOurs(app, setting)


class OpenedOurs(Opened):
    """See `Opened`."""

    def __init__(self, app: FaceAnalysis, setting: Setting) -> None:
        self.app = app
        self._setting = setting
        model: Any = app.analyzer.model("detection")
        self._model = model

    def runs_on(self) -> Mapping[Task, str]:
        return {
            task: f"{where}{f' ({where.note})' if where.note else ''}"
            for task, where in self.app.analyzer.runs_on().items()
        }

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        job, app = self._setting.job, self.app
        if self._setting.variant == NETWORK:
            width, height = self._model.fixed_size_wh or self._setting.size_wh
            blob = torch.rand(len(inputs), 3, height, width).to(self._model.device)
            with self._model.session.in_use() as opened:
                session = opened.whole if isinstance(opened, MarginSession) else opened
            return lambda: session.run(blob)
        tasks: list[Task] = ["recognition"] if job == "embed" else []

        def batch() -> Any:
            return app.analyze(inputs.images(), tasks).to("cpu")

        return batch if JOBS[job].batches else single_image_call(app, job, lambda: inputs.bgr()[0])

    def forget(self) -> None:
        if self._setting.variant != AGAIN:
            forget_results()

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        forget_results()
        if not JOBS[self._setting.job].batches:
            self.app.det_model.input_size = self._setting.size_wh
            return [found_of(self.app.get(inputs.bgr()[0]), embed)]
        faces = self.app.analyze(inputs.images(), ["recognition"] if embed else []).to("cpu")
        results = []
        for index in range(len(inputs)):
            some = faces.of_image(index)
            results.append(found(some.boxes, some.scores, some.landmarks, some.embeddings))
        return results
