"""What a pack takes of main memory, from import to unloading, each case in a process of its own.

    python benchmarks/memory.py [--packs PACK [PACK ...]] [--backends BACKEND [BACKEND ...]]
        [--profile PROFILE] [--rounds 10] [--weights FOLDER] [--picture PNG]

A pack is the folder of one, or the name of one that there are stand-ins for: those have the layers
of the released networks and random weights, which take the same memory. In each process the pack is
imported, loaded as the loader node does it, called (6 faces found and embedded in a picture of
1280 x 960), left alone until it has gone by itself, and then called and unloaded time and again.
`eager` opens every model of the pack first, as FASTFACE_PRELOAD does; `lazy` is the default.
With `--profile low-memory` precisions are what is proven for them, which takes real weights.
Graphs are prepared and weights converted before, as they are once after an installation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import pack_folder

STAGES = ("import", "loader", "opened", "first call", "idle unload")
MB = 1e6
_SAMPLE_SECONDS = 0.02
_IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class Case:
    """What is measured in one process."""

    pack: Path
    backend: str
    eager: bool
    profile: str = "standard"

    @property
    def title(self) -> str:
        of_profile = "" if self.profile == "standard" else f", {self.profile}"
        return f"{self.pack.name}, {self.backend}, {'eager' if self.eager else 'lazy'}{of_profile}"


class Recorder:
    """Samples the resident set size of this process, and marks moments of it."""

    def __init__(self) -> None:
        from fastface.utils.free_memory import resident_bytes

        self._resident: Callable[[], int] = resident_bytes
        self._start = time.perf_counter()
        self.samples: list[tuple[float, int]] = []
        self.marks: list[tuple[str, float, int, int]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.samples.append((time.perf_counter() - self._start, self._resident()))

    def mark(self, name: str) -> None:
        memory = psutil.Process().memory_info()
        # Pages of files, which is where libraries' code is; counted by Linux alone.
        of_files = getattr(memory, "shared", 0)
        self.marks.append((name, time.perf_counter() - self._start, memory.rss, of_files))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """What this process takes; to be called in one that has done nothing else."""
    import torch

    from install import import_pack

    import_pack("fastface")
    recorder = Recorder()
    recorder.mark("import")

    from fastface.backends.interfaces import DetectionOptions
    from fastface.backends.residency.idle_evictor import watch
    from fastface.pipeline import lifecycle
    from fastface.pipeline.loading import load_for_pack
    from fastface.utils.faces import Faces
    from fastface.utils.images import Images
    from fastface.utils.packs.read import read_pack
    from fastface.utils.settings import settings

    images = Images.from_comfy(torch.rand(1, 960, 1280, 3))
    pack = read_pack(case.pack.name, case.pack)
    side_px = settings().det_size
    options = DetectionOptions(((side_px, side_px),))
    app = load_for_pack(pack, options, backend=case.backend, device="cpu")
    time.sleep(0.3)
    recorder.mark("loader")
    if case.eager:
        for task in app.models:
            app.analyzer.model(task)
        recorder.mark("opened")

    side = torch.tensor([[0.0, 0.0, 200.0, 240.0]])
    points = torch.tensor([[60.0, 90], [140, 90], [100, 140], [65, 180], [135, 180]])
    places = torch.tensor([[x, y] for y in (50.0, 500.0) for x in (50.0, 450.0, 850.0)])
    faces = Faces(
        boxes=side + places.repeat(1, 2),
        scores=torch.full((6,), 0.9),
        image_index=torch.zeros(6, dtype=torch.int64),
        image_sizes=((960, 1280),),
        landmarks=points + places[:, None],
    )

    def call() -> None:
        app.analyzer.detect(images, app.options())
        app.analyzer.describe(images, faces, ["recognition"])

    call()
    recorder.mark("first call")
    time.sleep(0.3)
    os.environ["FASTFACE_OFFLOAD_TIMEOUT"] = str(_IDLE_SECONDS)
    watch.look_again()
    while watch.is_awake:  # it ends when it has released the last of them
        time.sleep(0.02)
    recorder.mark("idle unload")
    os.environ.pop("FASTFACE_OFFLOAD_TIMEOUT")
    for _ in range(rounds):
        call()
        lifecycle.unload()
        recorder.mark("round")
    recorder.stop()
    return {"marks": recorder.marks, "samples": recorder.samples}


def in_a_process(case: Case, rounds: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--inside", str(case.pack), case.backend]
    command += [str(int(case.eager)), str(rounds)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTFACE_")}
    kept["FASTFACE_PROFILE"] = case.profile
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case.title} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, dict[str, Any]]) -> str:
    """Megabytes at each moment, what is left over, and how much of that is libraries' code."""
    heads = [*STAGES, "over before load", "of which code of libraries", "after the rounds"]
    lines = [f"| MB | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for title, result in results.items():
        size = {name: rss for name, _, rss, _ in result["marks"]}
        code = {name: of_files for name, _, _, of_files in result["marks"]}
        cells = [f"{size[name] / MB:.0f}" if name in size else "" for name in STAGES]
        left = size["idle unload"] - size["loader"]
        cells += [
            f"{left / MB:+.0f} ({100 * left / size['loader']:+.1f} %)",
            f"{(code['idle unload'] - code['loader']) / MB:+.0f}",
            f"{size['round'] / MB:.0f}",
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Resident memory over time, one panel a case, its moments marked."""
    from matplotlib.figure import Figure

    columns = 2 if len(results) > 1 else 1
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(6 * columns, 2.4 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    top = max(size for result in results.values() for _, size in result["samples"]) / MB
    for panel, (title, result) in zip(panels, results.items(), strict=False):
        seconds, sizes = zip(*result["samples"], strict=True)
        panel.plot(seconds, [size / MB for size in sizes], color="#2a7f62", linewidth=1)
        before = next(size for name, _, size, _ in result["marks"] if name == "loader") / MB
        panel.axhline(before * 1.1, color="#c2410c", linewidth=0.9, linestyle=":")
        panel.set_title(title, loc="left", size=10)
        panel.tick_params(labelsize=8)
        panel.set_ylim(0, top * 1.15)
        panel.set_xlim(0)
        for name, at, size, _ in result["marks"]:
            panel.plot([at], [size / MB], "o", color="#1f2937", markersize=3)
            if name in ("first call", "idle unload"):
                below = name == "idle unload"
                offset = (2, -11) if below else (4, 4)
                panel.annotate(name, (at, size / MB), offset, textcoords="offset points", size=8)
    for panel in figure.axes[::columns]:
        panel.set_ylabel("resident MB", size=8)
    for panel in figure.axes[-columns:]:
        panel.set_xlabel("seconds since import; dotted: 10 % above before load", size=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        pack, backend, eager, rounds = sys.argv[2:]
        print(json.dumps(measure(Case(Path(pack), backend, eager == "1"), int(rounds))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--packs", nargs="+", type=folder_or_name, default=["buffalo_s", "antelopev2"]
    )
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "torch"])
    parser.add_argument("--profile", choices=["standard", "low-memory"], default="standard")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--weights", type=Path, help="where stand-ins are kept or made")
    parser.add_argument("--picture", type=Path, default=Path("memory.png"))
    chosen = parser.parse_args()
    results = {}
    for name in chosen.packs:
        folder = name if isinstance(name, Path) else stand_in(name, chosen.weights)
        for backend in chosen.backends:
            # Prepares, converts and proves.
            in_a_process(Case(folder, backend, True, chosen.profile), rounds=0)
        for eager in (False, True):
            for backend in chosen.backends:
                case = Case(folder, backend, eager, chosen.profile)
                results[case.title] = in_a_process(case, chosen.rounds)
                print(f"  {case.title} done", file=sys.stderr, flush=True)
    print(table(results))
    draw(results, chosen.picture)
    print(f"picture: {chosen.picture}")


def folder_or_name(text: str) -> Path | str:
    """A pack's folder, or the name of one that there may be stand-ins for."""
    is_name = text.isidentifier() and not Path(text).exists()
    return text if is_name else pack_folder(text)


def stand_in(name: str, folder: Path | None) -> Path:
    from install import import_pack

    import_pack("fastface")
    from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
    from fastface.utils import host

    return make_synthetic_pack(name, folder or host.cache_folder() / "stand-ins")


if __name__ == "__main__":
    main()
