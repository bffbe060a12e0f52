"""A pack of five small networks with random weights, which every backend opens in no time."""

from __future__ import annotations

from pathlib import Path

import onnx

from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import detector, embedder
from tests.contract.random_heads import write_random_heads

#: At this threshold noise has faces for a detector of random weights.
THRESHOLD = 0.6


def write_small_pack(folder: Path) -> Path:
    """Writes the pack; gives its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(detector(), str(folder / "det.onnx"))
    onnx.save(embedder("flatten"), str(folder / "rec.onnx"))
    write_random_heads(folder)
    return folder


def small_face_analysis(folder: Path, backend: str = "onnxruntime") -> FaceAnalysis:
    """The drop-in object over a small pack, at a size that takes no time."""
    analyzer = Analyzer(read_pack(folder.name, folder), get_backend(backend), Placement())
    return FaceAnalysis(analyzer, DetectionOptions(((64, 64),), THRESHOLD), max_faces=4)


def without_cheap_instructions() -> frozenset[str]:
    """What a processor can that computes in fp32 alone: proving int8 takes longer than a case."""
    return frozenset({"avx2"})
