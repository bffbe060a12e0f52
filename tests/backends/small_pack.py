"""A pack of two tiny networks of which everything is made that the graph cache keeps."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor

from fastface.backends.base import GraphBackend
from fastface.backends.interfaces import CanvasSession, Session
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.benchmark.synthetic_models.detectors import ScrfdLayers, scrfd
from fastface.utils.letterbox import Canvas
from fastface.utils.packs import ModelPack
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import embedder

BACKENDS = ("onnxruntime", "torch", "openvino")

_DETECTOR = ScrfdLayers(
    name="scrfd_tiny",
    stage_blocks=(1, 1, 1, 1),
    channels=(8, 8, 8, 16, 16, 16),
    neck=8,
    head_layers=1,
    head=8,
    outputs=("443", "468", "493", "446", "471", "496", "449", "474", "499"),
)
#: With a margin below, and one at the right.
_CANVASES = (
    Canvas((128, 256), (128, 256), (320, 256)),
    Canvas((256, 128), (256, 128), (256, 320)),
)


def make_small_pack(folder: Path) -> ModelPack:
    """A detector that skips margins, and a recogniser whose PRelu is written out; in batches.

    Made anew in another folder, they have the same content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(scrfd(_DETECTOR), folder / "detector.onnx")
    onnx.save(embedder("flatten"), folder / "recogniser.onnx")
    return read_pack("small", folder)


def answers(pack: ModelPack, backend: str) -> list[Tensor]:
    """What a backend makes of some noise, its sessions opened anew."""
    engine = get_backend(backend)
    assert isinstance(engine, GraphBackend)
    random = torch.Generator().manual_seed(0)
    results: list[Tensor] = []
    for model in pack.models:
        session = engine.open_session(model, Placement("cpu", "fp32"))
        if model.task != "detection":
            faces = torch.rand(2, 3, 112, 112, generator=random) - 0.5
            results += session.run(faces)
            continue
        for canvas in _CANVASES:
            images = torch.full((2, 3, *canvas.size_hw), model.black)
            height, width = canvas.filled_hw
            images[..., :height, :width] = torch.rand(2, 3, height, width, generator=random) - 0.5
            results += on_canvas(session, canvas, images)
    return [result.clone() for result in results]


def on_canvas(
    session: Session, canvas: Canvas, images: Tensor, parts: list[tuple[int, int]] | None = None
) -> tuple[Tensor, ...]:
    """Runs a session on what it needs of canvases `[B,3,H,W]`; notes how much that is."""
    if not isinstance(session, CanvasSession):
        return session.run(images)
    height, width = session.input_hw(canvas)
    if parts is not None:
        parts.append((height, width))
    return session.run(images[..., :height, :width].contiguous(), canvas)


def are_same(got: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether two lists of answers differ by no more than the order of additions makes."""
    return len(got) == len(expected) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-5)
        for a, b in zip(got, expected, strict=True)
    )
