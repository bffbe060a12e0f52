"""What networks with PRelu take in ONNX Runtime, as released and with PRelu written out.

    python benchmarks/prelu.py [--packs buffalo_s antelopev2] [--faces 1 6] [--rounds 15]

The packs are stand-ins: the layers of the released networks with random weights. Both are open in
one process and run in random order; the share is made pair by pair.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from install import import_pack

import_pack("fastface")
from fastface.backends import onnxruntime
from fastface.backends.interfaces import Session
from fastface.backends.onnx_graphs.batched import batched_graph
from fastface.backends.onnx_graphs.cpu_optimized import tuned_graph
from fastface.backends.placement import Placement
from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
from fastface.utils.packs import ModelFile
from fastface.utils.packs.read import read_pack


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", nargs="+", default=["buffalo_s", "antelopev2"])
    parser.add_argument("--faces", nargs="+", type=int, default=[1, 6])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    print("| pack, network | faces | as released, ms | written out, ms | share |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.packs:
            pack = read_pack(name, make_synthetic_pack(name, Path(folder)))
            for model in pack.models:
                prepared = batched_graph(model)
                if tuned_graph(prepared, model) == prepared:
                    continue
                both = opened(model)
                for faces in options.faces:
                    released, written_out, share = measured(both, model, faces, options.rounds)
                    print(
                        f"| {name}, {model.path.stem} | {faces} | {released * 1e3:.2f} | "
                        f"{written_out * 1e3:.2f} | {share:.2f} |",
                        flush=True,
                    )
    return 0


def opened(model: ModelFile) -> tuple[Session, Session]:
    """The network as released, and with PRelu written out."""
    backend = onnxruntime.OnnxRuntimeBackend()
    with patch.object(onnxruntime, "tuned_graph", lambda graph, model: graph):
        released = backend.open_session(model, Placement("cpu", "fp32"))
    return released, backend.open_session(model, Placement("cpu", "fp32"))


def measured(
    sessions: tuple[Session, Session], model: ModelFile, faces: int, rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both, and the share that the second takes of the first's."""
    width, height = model.fixed_size_wh or (112, 112)
    crops = torch.rand(faces, 3, height, width) * 2 - 1
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for number in random.sample((0, 1), 2):
            sessions[number].run(crops)
            began = time.perf_counter()
            sessions[number].run(crops)
            times[number].append(time.perf_counter() - began)
    shares = [second / first for first, second in zip(*times, strict=True)]
    first, second = map(statistics.median, times)
    return first, second, statistics.median(shares)


if __name__ == "__main__":
    raise SystemExit(main())
