"""What opening one graph takes of main memory for a moment, each in a process of its own.

    python benchmarks/opening.py [--weights FOLDER] [--backends BACKEND [BACKEND ...]]

The graphs have the layers of the released ones and random weights, which take the same memory. In
each process the engine runs a smaller network first, so that its own code does not count; then the
graph is opened and run once, and what was resident at most is compared with what was before. Each
graph is opened with an empty graph cache and with the one that the first time has left.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

#: Pack, task and side of the input of each graph.
GRAPHS = {
    "ResNet100": ("antelopev2", "recognition", 112),
    "68 landmarks": ("antelopev2", "landmark_3d_68", 192),
    "SCRFD-10G at 640": ("antelopev2", "detection", 640),
    "MobileFaceNet": ("buffalo_s", "recognition", 112),
}
_SMALL = ("buffalo_s", "genderage", 96)
_SAMPLE_SECONDS = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, help="where packs with random weights go")
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "torch", "openvino"])
    parser.add_argument("--inside", nargs=2, metavar=("BACKEND", "GRAPH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.weights or Path(scratch)
        if options.inside:
            print(*measure(folder, *options.inside))
            return
        print(f"| graph | MB | {' | '.join(options.backends)} |")
        print("|" + " --- |" * (len(options.backends) + 2))
        for name in GRAPHS:
            cells, size = [], 0.0
            for backend in options.backends:
                cache = Path(scratch) / f"cache-{backend}-{name}"
                taken = []
                for _ in range(2):
                    size, most = in_a_process(folder, backend, name, cache)
                    taken.append(f"{most / 1e6:.0f} ({most / size:.2f})")
                cells.append(", ".join(taken))
            print(f"| {name} | {size / 1e6:.1f} | {' | '.join(cells)} |", flush=True)


def measure(folder: Path, backend: str, name: str) -> tuple[int, int]:
    """Bytes of a graph, and how many more than before were resident while it was opened and run."""
    from install import import_pack

    import_pack("fastface")
    import torch

    from fastface.backends.base import GraphBackend
    from fastface.backends.placement import Placement
    from fastface.backends.registry import get_backend
    from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
    from fastface.utils.free_memory import resident_bytes
    from fastface.utils.packs.checksums import content_bytes
    from fastface.utils.packs.read import read_pack

    engine = get_backend(backend)
    if not isinstance(engine, GraphBackend):
        sys.exit(f"got backend {backend}, expected one that runs ONNX graphs")

    def opened(pack_name: str, task: str, side: int) -> int:
        made = make_synthetic_pack(pack_name, folder)
        model = read_pack(pack_name, made).model(task)
        session = engine.open_session(model, Placement("cpu", "fp32"))
        session.run(torch.zeros(1, 3, side, side))
        return content_bytes(model)

    opened(*_SMALL)
    gc.collect()
    before = most = resident_bytes()
    done = threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(_SAMPLE_SECONDS):
            most = max(most, resident_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    size = opened(*GRAPHS[name])
    time.sleep(_SAMPLE_SECONDS)
    done.set()
    sampler.join()
    return size, most - before


def in_a_process(folder: Path, backend: str, name: str, cache: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, "--weights", str(folder), "--inside", backend, name]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FASTFACE_")}
    kept["XDG_CACHE_HOME"] = kept["LOCALAPPDATA"] = str(cache)
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} in {backend} failed:\n{done.stderr}")
    size, most = done.stdout.split()[-2:]
    return float(size), float(most)


if __name__ == "__main__":
    main()
