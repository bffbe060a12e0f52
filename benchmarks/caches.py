"""What looking an image up costs and spares, and whether the caches keep their bounds.

    python benchmarks/caches.py --pack FOLDER --photo PHOTO [--rounds 25] [--requests 10000]

FOLDER is a pack's folder of ONNX files. "First" is a call of `get` on an image that was never seen,
and the embedding of every face read; "again" is the same on a copy of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file, pack_folder

from install import import_pack

import_pack("fastface")
from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import CACHES, forget_results
from fastface.pipeline.loading import load_for_pack
from fastface.utils.content import image_key
from fastface.utils.free_memory import resident_bytes
from fastface.utils.metrics import METRICS, stage
from fastface.utils.packs.read import read_pack

#: 4000 x 3000.
TWELVE_MEGAPIXELS = (4000, 3000)
#: Random images that requests are drawn from, and the side of each.
POOL, SIDE = 1000, 96


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--photo", type=existing_file, required=True)
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args(arguments)
    photo = cv2.imread(str(options.photo))
    if photo is None:
        parser.error(f"{options.photo} is no picture")
    large = cv2.resize(photo, TWELVE_MEGAPIXELS)
    pack = read_pack(options.pack.name, options.pack)
    app = load_for_pack(pack, DetectionOptions(), options.backend, "cpu")
    look_at(app, photo)  # networks are opened, and run once

    print("| what | median | quartiles |\n| --- | --- | --- |")
    row("hash of 12 megapixels, ms", [seconds(lambda: image_key(large)) * 1e3 for _ in range(100)])
    row("marking a stage, microseconds", [stage_microseconds() for _ in range(20)])
    for name, image in (("photo", photo), ("12 megapixels", large)):
        pairs = [first_and_again(app, image, number) for number in range(options.rounds)]
        row(f"{name}, first, ms", [first * 1e3 for first, _ in pairs])
        row(f"{name}, again, ms", [again * 1e3 for _, again in pairs])
        row(f"{name}, again, times as fast", [first / again for first, again in pairs])
    print(f"\n8 threads asked for one new image at once: {runs_for_eight(app, photo)} detection")
    random_images(app, options.requests)
    return 0


def row(name: str, values: Sequence[float]) -> None:
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"| {name} | {middle:.3g} | {low:.3g} to {high:.3g} |")


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def stage_microseconds(times: int = 10_000) -> float:
    def work() -> None:
        for _ in range(times):
            with stage("benchmark"):
                pass

    return seconds(work) / times * 1e6


def look_at(app: FaceAnalysis, image: np.ndarray) -> None:
    for face in app.get(image):
        _ = face.embedding


def first_and_again(app: FaceAnalysis, image: np.ndarray, number: int) -> tuple[float, float]:
    """Seconds for an image never seen, and the median of five for copies of it."""
    forget_results()
    image = image.copy()
    image[0, 0] = number
    first = seconds(lambda: look_at(app, image))
    copies = [image.copy() for _ in range(5)]
    return first, statistics.median(seconds(lambda c=c: look_at(app, c)) for c in copies)


def runs_for_eight(app: FaceAnalysis, photo: np.ndarray) -> int:
    """How often the detector runs when 8 threads ask for one image."""
    forget_results()
    before = METRICS.stages()["detector"].count
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: look_at(app, photo), range(8)))
    return METRICS.stages()["detector"].count - before


def random_images(app: FaceAnalysis, requests: int) -> None:
    """Requests for random images of a pool twice as large as the caches' bound."""
    forget_results()
    random = np.random.default_rng(0)
    pool = random.integers(0, 256, (POOL, SIDE, SIDE, 3), dtype=np.uint8)
    app.det_model.input_size = (SIDE, SIDE)
    app.det_model.det_thresh = 0.02  # noise has faces too, if one is easily convinced
    before = {cache.name: cache.status() for cache in CACHES}
    most = {cache.name: (0, 0) for cache in CACHES}
    rss = resident_bytes()
    for number in random.integers(0, POOL, requests).tolist():
        app.get(pool[number])
        for cache in CACHES:
            now, (entries, size) = cache.status(), most[cache.name]
            most[cache.name] = (max(entries, now.entries), max(size, now.bytes))
    print(f"\n{requests} requests for {POOL} random images of {SIDE} x {SIDE}:\n")
    print("| cache | requests | known | most entries | most MB | put out |")
    print("| --- | --- | --- | --- | --- | --- |")
    for cache in CACHES:
        now, old = cache.status(), before[cache.name]
        hits, misses = now.hits - old.hits, now.misses - old.misses
        if hits + misses:
            entries, size = most[cache.name]
            print(
                f"| {cache.name} | {hits + misses} | {hits / (hits + misses):.1%} | {entries} | "
                f"{size / 1e6:.2f} | {now.evictions - old.evictions} |"
            )
    print(f"\nRSS grew by {(resident_bytes() - rss) / 1e6:.1f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
