"""facenet-pytorch's MTCNN as its README shows it; the reference of the `facenet` backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...backends.facenet_networks.embedding_weights import MTCNN_PACK
from ...backends.registry import all_backends
from ...utils.devices import DeviceWord
from ...utils.packs import ModelPack, Task
from ...utils.parity import Found, found
from ..benchmark_inputs import BenchmarkInputs
from ..implementation import Implementation, Opened, Setting


class FacenetPytorch(Implementation):
    """Detection with the weights in its wheel."""

    name = "facenet-pytorch"
    distribution = "facenet-pytorch"

    def why_unavailable(self) -> str | None:
        return all_backends()["facenet"].why_unavailable()

    def devices(self) -> tuple[DeviceWord, ...]:
        return all_backends()["facenet"].devices()

    def own_weights(self) -> str | None:
        return MTCNN_PACK

    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        return None if job == "detect" else f"{MTCNN_PACK} has no recognition model"

    def open(self, setting: Setting) -> OpenedMtcnn:
        from facenet_pytorch import MTCNN

        return OpenedMtcnn(MTCNN(keep_all=True, device=setting.device), setting)


class OpenedMtcnn(Opened):
    """See `Opened`."""

    def __init__(self, mtcnn: Any, setting: Setting) -> None:
        self._mtcnn = mtcnn
        pack, *_ = all_backends()["facenet"].packs()
        # A threshold that was found for other weights says nothing about these.
        self._threshold = pack.det_threshold

    def runs_on(self) -> Mapping[Task, str]:
        return {"detection": f"torch on {self._mtcnn.device}"}

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        return lambda: self._mtcnn.detect(np.stack(inputs.rgb()), landmarks=True)

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        results = []
        for image in inputs.rgb():
            boxes, scores, points = self._mtcnn.detect(image, landmarks=True)
            if boxes is None:
                boxes, scores, points = np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
            keep = np.asarray(scores, dtype=np.float32) >= self._threshold
            results.append(found(boxes[keep], scores[keep], points[keep]))
        return results
