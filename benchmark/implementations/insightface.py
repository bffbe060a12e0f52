"""insightface itself, as its users call it: image by image, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...backends.providers.provider_table import device_name, parse_device
from ...backends.registry import all_backends
from ...utils.devices import DeviceWord
from ...utils.packs import ModelPack, Task
from ...utils.parity import Found, found
from ..benchmark_inputs import BenchmarkInputs
from ..implementation import Implementation, Opened, Setting
from ..upstream_calls import found_of, single_image_call
from ..workloads import JOBS

#: What its users load for each job; None is everything in the pack.
_MODULES: dict[str, list[Task] | None] = {
    "detect": ["detection"],
    "embed": ["detection", "recognition"],
    "get": ["detection", "recognition"],
    "get_all": None,
    "instantid": None,
}


class InsightFace(Implementation):
    """The reference: parity is against its results on the CPU."""

    name = "insightface"
    distribution = "insightface"

    def why_unavailable(self) -> str | None:
        return all_backends()[self.name].why_unavailable()

    def devices(self) -> tuple[DeviceWord, ...]:
        return all_backends()[self.name].devices()

    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        if JOBS[job].needs_recognition and "recognition" not in pack.tasks:
            return f"{pack.name} has no recognition model"
        return all_backends()[self.name].why_unsupported(pack)

    def open(self, setting: Setting) -> OpenedInsightFace:
        import onnxruntime
        from insightface.app import FaceAnalysis

        row, index = parse_device(setting.device)
        if row.device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            # Without it the runtime may not find the CUDA libraries that torch brought.
            onnxruntime.preload_dlls()
        options: dict[str, Any] = {} if row.device == "cpu" else {"device_id": index}
        providers: list[Any] = [(row.provider, options)]
        if row.device != "cpu":
            providers.append("CPUExecutionProvider")
        app = FaceAnalysis(
            name=setting.pack_folder,
            allowed_modules=_MODULES[setting.job],
            providers=providers,
        )
        app.prepare(ctx_id=index, det_thresh=setting.threshold or 0.5, det_size=setting.size_wh)
        return OpenedInsightFace(app, setting, device_name(row, index))


class OpenedInsightFace(Opened):
    """See `Opened`; it gives and takes what lies in main memory."""

    def __init__(self, app: Any, setting: Setting, asked: str) -> None:
        self.app = app
        self._setting = setting
        self._asked = asked

    def runs_on(self) -> Mapping[Task, str]:
        return {
            task: f"{model.session.get_providers()[0]} (asked for {self._asked})"
            for task, model in self.app.models.items()
        }

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        job = self._setting.job
        if job == "detect":
            return lambda: [self.app.det_model.detect(image) for image in inputs.bgr()]
        if job == "embed":
            return lambda: [self.app.get(image) for image in inputs.bgr()]
        return single_image_call(self.app, job, lambda: inputs.bgr()[0])

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        if self._setting.job != "detect":
            self.app.det_model.input_size = self._setting.size_wh
            return [found_of(self.app.get(image), embed) for image in inputs.bgr()]
        results = []
        for image in inputs.bgr():
            boxes, landmarks = self.app.det_model.detect(image)
            results.append(found(boxes[:, :4], boxes[:, 4], _as_array(landmarks)))
        return results


def _as_array(landmarks: Any) -> Any:
    return None if landmarks is None else np.asarray(landmarks)
