"""uniface's SCRFD and ArcFace classes, given the same graphs instead of their downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.providers.provider_table import parse_device
from ...backends.registry import all_backends
from ...utils.devices import DeviceWord
from ...utils.modules import has_module
from ...utils.packs import ModelPack, Task
from ...utils.packs.read import read_pack
from ...utils.parity import Found, found
from ..benchmark_inputs import BenchmarkInputs
from ..implementation import Implementation, Opened, Setting


class Uniface(Implementation):
    """Image by image and face by face, through ONNX Runtime."""

    name = "uniface"
    distribution = "uniface"

    def why_unavailable(self) -> str | None:
        if not has_module("uniface"):
            return "uniface is not installed; run `pip install --no-deps uniface`"
        return all_backends()["onnxruntime"].why_unavailable()

    def devices(self) -> tuple[DeviceWord, ...]:
        offered = () if self.why_unavailable() else all_backends()["onnxruntime"].devices()
        return tuple(device for device in offered if device in ("cuda", "cpu"))

    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        if job not in ("detect", "embed"):
            return "it has no object like InsightFace's"
        if job == "embed" and "recognition" not in pack.tasks:
            return f"{pack.name} has no recognition model"
        return all_backends()["onnxruntime"].why_unsupported(pack)

    def open(self, setting: Setting) -> OpenedUniface:
        from uniface.detection import scrfd

        pack = read_pack(setting.pack_name, Path(setting.pack_folder))
        row, index = parse_device(setting.device)
        if row.device != "cpu":
            import onnxruntime

            onnxruntime.preload_dlls()
        providers: list[Any] = ["CPUExecutionProvider"]
        if row.device != "cpu":
            providers.insert(0, (row.provider, {"device_id": index}))
        file = str(pack.model("detection").path)
        # Its constructor takes names of downloads only; this is the one place where they become
        # files, and this process is the contestant's own.
        setattr(scrfd, "verify_model_weights", lambda _: file)  # noqa: B010  for the type checker
        detector = scrfd.SCRFD(
            confidence_threshold=setting.threshold or pack.det_threshold,
            input_size=setting.size_wh,
            providers=providers,
        )
        recognizer = None
        if setting.job == "embed":
            recognizer = _recognizer(str(pack.model("recognition").path), providers)
        return OpenedUniface(detector, recognizer)


def _recognizer(file: str, providers: list[Any]) -> Any:
    from uniface.recognition.base import BaseRecognizer, PreprocessConfig

    class PackRecognizer(BaseRecognizer):
        def __init__(self) -> None:
            super().__init__(model_path=file, preprocessing=PreprocessConfig(), providers=providers)

    return PackRecognizer()


class OpenedUniface(Opened):
    """See `Opened`."""

    def __init__(self, detector: Any, recognizer: Any) -> None:
        self._detector = detector
        self._recognizer = recognizer

    def runs_on(self) -> Mapping[Task, str]:
        parts: dict[Task, Any] = {"detection": self._detector, "recognition": self._recognizer}
        return {
            task: part.session.get_providers()[0]
            for task, part in parts.items()
            if part is not None
        }

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        return lambda: [self._analyse(image) for image in inputs.bgr()]

    def _analyse(self, bgr: np.ndarray) -> tuple[list[Any], list[np.ndarray]]:
        faces = self._detector.detect(bgr)
        if self._recognizer is None:
            return faces, []
        return faces, [self._recognizer.get_embedding(bgr, face.landmarks) for face in faces]

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        results = []
        for image in inputs.bgr():
            faces, embeddings = self._analyse(image)
            results.append(
                found(
                    np.array([face.bbox for face in faces]),
                    np.array([face.confidence for face in faces]),
                    np.array([face.landmarks for face in faces]),
                    np.array(embeddings) if embeddings else None,
                )
            )
        return results
