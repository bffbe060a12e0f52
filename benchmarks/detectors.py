"""Which faces each family of detectors finds, and how long it takes, beside SCRFD.

    python benchmarks/detectors.py --pack FOLDER --photos PHOTO [PHOTO ...]
        --detector NAME=FILE [--detector NAME=FILE ...] [--random NAME=FILE ...] [--picture PNG]

Recall is that of the grid of `robustness.py`, thinned out: faces of photos at 0.03 to 1.5 of the
height of images of 640 x 640 pixels, turned by quarters; where they are is what SCRFD says of the
photo. Every detector has the threshold of its authors. `--random` names graphs without trained
weights: they find nothing, and are timed at a threshold that nothing passes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file, pack_folder

from install import import_pack

import_pack("fastface")
from grid import Portrait, laid_out, portrait

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.loading import load_for_pack
from fastface.utils.images import Images
from fastface.utils.packs.detector_files import with_detector
from fastface.utils.packs.read import read_pack

ZOOMS = (0.03, 0.05, 0.1, 0.4, 1.0, 1.5)
ANGLES = (0, 90, 180, 270)
SIZE = (640, 640)
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """What came of one detector; recall is 0..1, None without trained weights."""

    name: str
    family: str
    threshold: float
    upright: float | None
    auto: float | None
    turned: float | None
    single_ms: float
    batch_ms: float


def opened(pack_folder: Path, file: Path | None, is_random: bool) -> tuple[Any, Any]:
    """The detector at one size, and at the two of detection `auto`."""
    pack = read_pack(pack_folder.name, pack_folder)
    if file is not None:
        pack = with_detector(pack, file.name, file, second_look=False)
    threshold = 1.0 if is_random else pack.det_threshold
    options = DetectionOptions((SIZE,), threshold, pack.nms_threshold)
    wide = replace(options, sizes_wh=((128, 128), SIZE))
    return tuple(
        load_for_pack(pack, each, backend="onnxruntime", device="cpu") for each in (options, wide)
    )


def recall(app: Any, portraits: Sequence[Portrait], angles: Sequence[int]) -> float:
    found = []
    for subject, zoom, angle in itertools.product(portraits, ZOOMS, angles):
        cell = laid_out(subject, zoom, angle)
        found.append(any(map(cell.is_found_by, app.get(cell.image))))
        forget_results()
    return float(np.mean(found))


def milliseconds(apps: dict[str, Any], images: Images) -> dict[str, float]:
    """Median over rounds in which all take turns, an image."""
    took: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS + 2):
        for name, app in apps.items():
            start = time.perf_counter()
            app.analyzer.detect(images, app.options())
            took[name].append((time.perf_counter() - start) / len(images) * 1000)
    return {name: float(np.median(times[2:])) for name, times in took.items()}


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| detector | threshold | recall, upright | upright, `auto` | recall, turned | "
        "ms an image | ms, 8 at a time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        shares = [
            "random weights" if share is None else f"{share:.2f}"
            for share in (row.upright, row.auto, row.turned)
        ]
        cells = [row.name, f"{row.threshold:g}", *shares]
        lines.append(f"| {' | '.join(cells)} | {row.single_ms:.1f} | {row.batch_ms:.1f} |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.5 * len(rows) + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = np.arange(len(rows))[::-1]
    bars = {
        "upright": ("upright, at 640", "#3b6ea5"),
        "auto": ("upright, auto (128 and 640)", "#9ab8d6"),
        "turned": ("turned by quarters, at 640", "#e08a3c"),
    }
    for step, (field, (label, colour)) in enumerate(bars.items()):
        shares = [getattr(row, field) or 0 for row in rows]
        left.barh(places + 0.26 - 0.26 * step, shares, 0.24, color=colour, label=label)
    for place, row in zip(places, rows, strict=True):
        if row.upright is None:
            left.text(0.01, place, "random weights", va="center", size=8, color="grey")
    left.set_yticks(places, [row.name for row in rows])
    left.set_xlim(0, 1)
    left.set_xlabel("share of faces found")
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    for step, (field, label) in enumerate((("single_ms", "one"), ("batch_ms", "8 at a time"))):
        values = [getattr(row, field) for row in rows]
        drawn = right.barh(
            places + 0.2 - 0.4 * step, values, 0.36, color=("#5a5a5a", "#b0b0b0")[step], label=label
        )
        right.bar_label(drawn, fmt="%.0f", padding=2, size=8)
    right.set_yticks(places, [""] * len(rows))
    right.margins(x=0.12)
    right.set_xlabel("milliseconds an image, 640 x 640")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def named(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    return name, existing_file(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pack", type=pack_folder, required=True, help="folder with SCRFD")
    parser.add_argument("--photos", type=existing_file, nargs="+", required=True)
    parser.add_argument("--detector", type=named, action="append", default=[])
    parser.add_argument("--random", type=named, action="append", default=[])
    parser.add_argument("--picture", type=Path, default=Path("detectors.png"))
    chosen = parser.parse_args()

    scrfd = read_pack(chosen.pack.name, chosen.pack).model("detection").path.stem
    files = {f"SCRFD, {scrfd}": None, **dict(chosen.detector), **dict(chosen.random)}
    untrained = dict(chosen.random)
    apps = {name: opened(chosen.pack, file, name in untrained) for name, file in files.items()}
    auto = next(iter(apps.values()))[0]
    portraits = [portrait(path, auto.get) for path in chosen.photos]
    cells = [
        laid_out(subject, zoom, 0).image for subject, zoom in itertools.product(portraits, ZOOMS)
    ]
    pixels = np.stack([cells[place % len(cells)] for place in range(8)])[..., ::-1].copy()
    batch = torch.from_numpy(pixels)
    plain = {name: app for name, (app, _) in apps.items()}
    single_ms = milliseconds(plain, Images.from_comfy(batch[2:3]))
    batch_ms = milliseconds(plain, Images.from_comfy(batch))
    rows = []
    for name, (app, both) in apps.items():
        shares: tuple[float | None, ...] = (None, None, None)
        if name not in untrained:
            shares = (
                recall(app, portraits, ANGLES[:1]),
                recall(both, portraits, ANGLES[:1]),
                recall(app, portraits, ANGLES[1:]),
            )
        family = app.analyzer.pack.model("detection").family or ""
        threshold = app.analyzer.pack.det_threshold
        rows.append(Row(name, family, threshold, *shares, single_ms[name], batch_ms[name]))
        print(rows[-1], file=sys.stderr, flush=True)
    images = len(portraits) * len(ZOOMS) * len(ANGLES)
    print(f"{images} images: {len(portraits)} faces, {len(ZOOMS)} sizes, {len(ANGLES)} turns\n")
    print(table(rows))
    draw(rows, chosen.picture)


if __name__ == "__main__":
    main()
