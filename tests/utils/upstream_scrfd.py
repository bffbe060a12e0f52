"""insightface's own SCRFD over outputs that a test makes up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


class MadeUpSession:
    """What insightface's SCRFD needs of an ONNX Runtime session, with outputs of our choice."""

    def __init__(self, outputs: list[np.ndarray]) -> None:
        self.outputs = outputs
        self.blobs: list[np.ndarray] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input", shape=[1, 3, "?", "?"])]

    def get_outputs(self) -> list[Any]:
        return [
            SimpleNamespace(name=str(index), shape=["?"] * output.ndim)
            for index, output in enumerate(self.outputs)
        ]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.blobs.append(feeds["input"])
        return self.outputs


def upstream_scrfd(outputs: list[np.ndarray], nms_threshold: float = 0.4) -> Any:
    """insightface's SCRFD; `outputs` are one image's, `[A,1]`, `[A,4]`, `[A,10]` a stride."""
    from insightface.model_zoo.scrfd import SCRFD

    detector = SCRFD(session=MadeUpSession(outputs))
    detector.nms_thresh = nms_threshold
    return detector


def made_up_outputs(
    random: np.random.Generator, count: int, canvas_hw: tuple[int, int], images: int
) -> list[np.ndarray]:
    """Outputs of an SCRFD with 6, 9, 10 or 15 of them, a batch of images: `[B,A,1 | 4 | 10]`."""
    strides, anchors = ((8, 16, 32), 2) if count in (6, 9) else ((8, 16, 32, 64, 128), 1)
    outputs = []
    for width in (1, 4, 10)[: count // len(strides)]:
        for stride in strides:
            places = (canvas_hw[0] // stride) * (canvas_hw[1] // stride) * anchors
            values = random.random((images, places, width), dtype=np.float32)
            # Whole steps of a tenth, so that scores tie and meet the threshold exactly.
            outputs.append(np.round(values, 1) if width == 1 else values * 4 - 1)
    return outputs
