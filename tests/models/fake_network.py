"""One network without weights, as a `Session` of this pack and as insightface sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastface.backends.placement import RunsOn
from fastface.utils.faces import Faces
from fastface.utils.letterbox import Canvas
from fastface.utils.packs import ModelFile, ModelPack


class FakeNetwork:
    """Means over an 8 x 8 grid of the input, mixed by random weights: each crop gives its own."""

    def __init__(self, outputs: int, spread: float = 1.0) -> None:
        random = np.random.default_rng(outputs)
        self.weights = random.normal(0, spread / np.sqrt(3 * 64), (3 * 64, outputs))
        #: What it says of a black picture, so that even there no two outputs are alike.
        self.rest = random.normal(0, 0.3, outputs)

    def __call__(self, blob: np.ndarray) -> np.ndarray:
        """`[B,3,S,S]` in, `[B,outputs]` float32 out."""
        images, channels, side, _ = blob.shape
        cells = blob.astype(np.float64).reshape(images, channels, 8, side // 8, 8, side // 8)
        means = cells.mean((3, 5)).reshape(images, -1)
        return (means @ self.weights + self.rest).astype(np.float32)


class FakeSession:
    """A `CanvasSession` that runs a function of numpy arrays and keeps what it was given."""

    device = torch.device("cpu")
    runs_on = RunsOn("cpu", "fake")

    def __init__(self, network: Any) -> None:
        self.network = network
        self.inputs: list[Tensor] = []

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        return canvas.size_hw

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        self.inputs.append(x)
        return (torch.from_numpy(self.network(x.numpy())),)


class UpstreamSession:
    """The same network as an ONNX Runtime session, as far as insightface looks at one."""

    def __init__(
        self, network: Callable[[np.ndarray], np.ndarray], side: int, kind: str = "tensor(float)"
    ) -> None:
        self.network = network
        self._input = SimpleNamespace(name="data", shape=["batch", 3, side, side], type=kind)

    def get_inputs(self) -> list[Any]:
        return [self._input]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="fc1", shape=["batch"], type="tensor(float)")]

    def run(self, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [self.network(feeds["data"])]


def upstream_head(
    kind: type[Any], network: Callable[[np.ndarray], np.ndarray], side: int, **attributes: Any
) -> Any:
    """One of insightface's classes, set up by hand because there is no file to load."""
    head = object.__new__(kind)
    vars(head).update(
        session=UpstreamSession(network, side),
        input_size=(side, side),
        input_name="data",
        output_names=["fc1"],
        **attributes,
    )
    return head


def model_of(task: str, side: int | None, **attributes: Any) -> ModelFile:
    family = "SCRFD" if task == "detection" else None
    return ModelFile(Path(f"{task}.onnx"), task, (None, 3, side, side), family=family, **attributes)


def pack_of(model: ModelFile) -> ModelPack:
    return ModelPack("fake", Path(), (model,))


def photo(seed: int, height: int = 200, width: int = 260) -> np.ndarray:
    """`[H,W,3]` uint8 BGR, with as much structure as a photo has."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


#: Boxes over two photos: inside, over a corner, wider than high, fully outside.
BOXES = [
    (0, (60.5, 40.25, 130.75, 150.5)),
    (1, (-20.0, -30.5, 70.0, 80.0)),
    (0, (100.0, 100.0, 240.0, 160.0)),
    (1, (300.0, 250.0, 340.0, 310.0)),
]


def faces_in(photos: list[np.ndarray], rows: list[int] | None = None) -> Faces:
    """The faces of `BOXES`, with landmarks that lie as in a face."""
    chosen = [BOXES[row] for row in (range(len(BOXES)) if rows is None else rows)]
    boxes = torch.tensor([box for _, box in chosen]).reshape(-1, 4)
    places = torch.tensor([[0.3, 0.35], [0.7, 0.34], [0.52, 0.6], [0.36, 0.8], [0.68, 0.82]])
    landmarks = boxes[:, None, :2] + places * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return Faces(
        boxes=boxes,
        scores=torch.ones(len(boxes)),
        image_index=torch.tensor([image for image, _ in chosen], dtype=torch.int64),
        image_sizes=tuple((image.shape[0], image.shape[1]) for image in photos),
        landmarks=landmarks,
    )
