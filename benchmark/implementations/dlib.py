"""dlib's frontal face detector: histograms of gradients, the weights in the library itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...utils.devices import DeviceWord
from ...utils.modules import has_module
from ...utils.packs import ModelPack, Task
from ...utils.parity import Found, found
from ..benchmark_inputs import BenchmarkInputs
from ..implementation import Implementation, Opened, Setting

_UPSAMPLE_ONCE = 1


class Dlib(Implementation):
    """Boxes only: no landmarks without a further download."""

    name = "dlib"
    distribution = "dlib-bin"

    def why_unavailable(self) -> str | None:
        if not has_module("dlib"):
            return "dlib is not installed; run `pip install dlib-bin`"
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        return ("cpu",)

    def own_weights(self) -> str | None:
        return "dlib-hog"

    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        return None if job == "detect" else "its recognition model is a further download"

    def open(self, setting: Setting) -> OpenedDlib:
        import dlib

        library: Any = dlib  # it is all compiled: nothing is known of its types
        return OpenedDlib(library.get_frontal_face_detector())


class OpenedDlib(Opened):
    """See `Opened`."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def runs_on(self) -> Mapping[Task, str]:
        return {"detection": "dlib on cpu"}

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        return lambda: [self._detector.run(image, _UPSAMPLE_ONCE, 0.0) for image in inputs.rgb()]

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        results = []
        for image in inputs.rgb():
            rectangles, scores, _ = self._detector.run(image, _UPSAMPLE_ONCE, 0.0)
            sides = [(box.left(), box.top(), box.right(), box.bottom()) for box in rectangles]
            results.append(found(np.array(sides), np.array(list(scores))))
        return results
