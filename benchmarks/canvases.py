"""What a detector's network takes for pictures of several shapes, against all of its canvas.

    python benchmarks/canvases.py --pack FOLDER [--backends onnxruntime torch] [--rounds 40]

FOLDER is a pack's folder of ONNX files. The network runs as it does behind the nodes, where
it skips black margins; the time of the whole graph on the same canvas is 1.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import pack_folder

from install import import_pack

import_pack("fastface")
from fastface.backends.base import GraphBackend
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.backends.sessions.margin_session import MarginSession
from fastface.utils.letterbox import Canvas
from fastface.utils.packs.read import read_pack

SIDE = 640
#: Width to height.
SHAPES = {"1:1": (1, 1), "4:3": (4, 3), "3:2": (3, 2), "16:9": (16, 9), "9:16": (9, 16)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino", "torch"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    model = read_pack(options.pack.name, options.pack).model("detection")
    print(f"| backend | whole, ms | {' | '.join(SHAPES)} |")
    print("| --- " * (len(SHAPES) + 2) + "|")
    for name in options.backends:
        backend = get_backend(name)
        if not isinstance(backend, GraphBackend) or backend.why_unavailable():
            continue
        session = backend.open_session(model, Placement(options.device, "fp32"))
        if not isinstance(session, MarginSession):
            parser.error(f"{name} runs {model.path.name} whole")
        whole, shapes = measured(session, options.rounds)
        print(f"| {name} | {whole * 1e3:.1f} | {' | '.join(f'{time:.2f}' for time in shapes)} |")
    return 0


def measured(session: MarginSession, rounds: int) -> tuple[float, list[float]]:
    """Seconds of the whole graph, and the shares of it that each shape takes, in random order."""
    whole = torch.rand(1, 3, SIDE, SIDE, device=session.device) * 2 - 1
    calls: list[Callable[[], Any]] = [lambda: session.whole.run(whole)]
    for width, height in SHAPES.values():
        canvas = Canvas.fitting((height * 120, width * 120), (SIDE, SIDE))
        # Drawn beforehand: it is the network that is measured.
        height, width = session.input_hw(canvas)
        part = whole[..., :height, :width].contiguous()
        calls.append(partial(session.run, part, canvas))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for number in random.sample(range(len(calls)), len(calls)):
            calls[number]()
            began = time.perf_counter()
            calls[number]()
            if session.device.type == "cuda":
                torch.cuda.synchronize(session.device)
            times[number].append(time.perf_counter() - began)
    first, *others = times
    pairs = [statistics.median(b / a for a, b in zip(first, each, strict=True)) for each in others]
    return statistics.median(first), pairs


if __name__ == "__main__":
    raise SystemExit(main())
