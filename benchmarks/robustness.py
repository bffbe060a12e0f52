"""Which faces are found, however large and however turned: ours against insightface.

    python benchmarks/robustness.py --pack FOLDER --photos PHOTO [PHOTO ...] [--picture PNG]
        [--backgrounds PHOTO [PHOTO ...]]

From each photo the face with the best score is cut out, as far around it as no other face comes,
and laid into images of 640 x 640 pixels: at 0.03 to 1.7 of their height, turned in steps of 45
degrees. A face is found if the box overlaps the true one (IoU above 0.4) and the landmarks say the
right turn to within 45 degrees. Faces are looked for in vain in pieces of `--backgrounds` in which
no detector sees any at a third of the threshold, and in the pictures of scikit-image.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file, pack_folder

from install import import_pack

import_pack("fastface")
from grid import SIDE, Cell, Find, Portrait, area, laid_out, meets, portrait, read_image

from fastface.backends.interfaces import DetectionOptions
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.loading import load_for_pack
from fastface.utils.images import Images
from fastface.utils.packs.read import read_pack

ZOOMS = (0.03, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3, 1.5, 1.7)
ANGLES = tuple(range(0, 360, 45))
SIZES = ((128, 128), (640, 640))
#: Smaller faces, in pixels of their height, are too coarse to be recognised.
RECOGNISABLE = 60
#: Of scikit-image's pictures, those that hold no face of man or beast.
FACELESS_OF_SKIMAGE = (
    *("brick", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon", "page"),
    *("retina", "rocket", "text"),
)


@dataclass
class Score:
    """What one contestant made of the grid, by zoom and angle."""

    any: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))
    best: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))
    largest: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))


def run_grid(portraits: Sequence[Portrait], contestants: dict[str, Find]) -> dict[str, Score]:
    scores = {name: Score() for name in contestants}
    share = 1 / len(portraits)
    for subject, (row, zoom), (column, angle) in itertools.product(
        portraits, enumerate(ZOOMS), enumerate(ANGLES)
    ):
        cell = laid_out(subject, zoom, angle)
        for name, find in contestants.items():
            faces, score = find(cell.image), scores[name]
            if not faces:
                continue
            largest = max(faces, key=lambda face: area(face.bbox))
            score.any[row, column] += share * any(map(cell.is_found_by, faces))
            score.best[row, column] += share * cell.is_found_by(faces[0])
            score.largest[row, column] += share * cell.is_found_by(largest)
        forget_results()
        if column == len(ANGLES) - 1:
            print(f"  {subject.name}: {zoom} done", file=sys.stderr, flush=True)
    return scores


@dataclass
class Likeness:
    """Cosines of the embeddings of laid out faces with those of the upright photos.

    Attributes:
        found: By the landmarks that were found.
        at_best: By the true ones: what no detector can better.
    """

    found: list[float] = field(default_factory=list)
    at_best: list[float] = field(default_factory=list)

    def add(self, cell: Cell, subject: Portrait, app: Any) -> None:
        faces = app.get(cell.image)
        if not faces or not cell.is_found_by(faces[0]):
            return
        truth = type(faces[0])(bbox=cell.box, kps=cell.kps)
        app.models["recognition"].get(cell.image, truth)
        for cosines, face in ((self.found, faces[0]), (self.at_best, truth)):
            cosines.append(float(face.normed_embedding @ subject.face.normed_embedding))

    def __str__(self) -> str:
        parts = []
        for name, cosines in (("found", self.found), ("true landmarks", self.at_best)):
            low, middle = np.percentile(cosines, (5, 50))
            above = np.mean(np.array(cosines) > 0.9)
            parts.append(f"{name}: median {middle:.3f}, 5th {low:.3f}, above 0.9 {above:.3f}")
        return f"{len(self.found):3} faces; " + "; ".join(parts)


def likeness(portraits: Sequence[Portrait], app: Any) -> None:
    """Prints the likeness of all faces that are large enough to be recognised."""
    print(f"\nembeddings against those of the upright photos, faces of {RECOGNISABLE} px or more")
    whole, cut = Likeness(), Likeness()
    for subject, zoom, angle in itertools.product(portraits, ZOOMS, ANGLES):
        if zoom * SIDE >= RECOGNISABLE:
            cell = laid_out(subject, zoom, angle)
            (whole if cell.is_whole else cut).add(cell, subject, app)
            forget_results()
    print(f"wholly in the image  {whole}")
    print(f"partly outside       {cut}")


def draw(scores: dict[str, Score], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(scores), 4.6), layout="constrained")
    image = None
    for axes, (name, score) in zip(
        figure.subplots(1, len(scores), squeeze=False)[0], scores.items(), strict=True
    ):
        image = axes.imshow(score.best, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axes.set_title(f"{name}: {score.best.mean():.2f}")
        axes.set_xticks(range(len(ANGLES)), [f"{angle}°" for angle in ANGLES])
        axes.set_yticks(range(len(ZOOMS)), [f"{zoom:g}" for zoom in ZOOMS])
        axes.set_xlabel("face turned by")
        axes.set_ylabel("face height / image height")
        for (row, column), value in np.ndenumerate(score.best):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, size=7)
    if image is not None:
        figure.colorbar(image, ax=figure.axes, label="share of photos whose best face is right")
    figure.savefig(path, dpi=120)


def faceless(paths: Sequence[Path], find_faintest: Find) -> list[np.ndarray]:
    """Pictures of scikit-image, and squares cut at random from photos, away from all faces."""
    pictures = []
    try:
        import skimage.data
    except ImportError:
        print("scikit-image is not installed: only --backgrounds are looked at")
    else:
        for name in FACELESS_OF_SKIMAGE:
            pixels = getattr(skimage.data, name)()
            grey = pixels if pixels.ndim == 2 else pixels[..., 2::-1]
            values = (grey * 255 if grey.dtype == bool else grey).astype(np.uint8)
            pictures.append(np.ascontiguousarray(np.atleast_3d(values)))
    pictures = [np.repeat(each, 3, 2) if each.shape[2] == 1 else each for each in pictures]
    chance = np.random.default_rng(0)
    for path in paths:
        image = read_image(path)
        height, width = image.shape[:2]
        boxes = [face.bbox for face in find_faintest(image)]
        wanted = len(pictures) + 8
        for _ in range(300):
            side = int(min(chance.uniform(0.15, 0.5) * max(height, width), height, width))
            x, y = chance.integers(0, width - side + 1), chance.integers(0, height - side + 1)
            piece = (x, y, x + side, y + side)
            near = [np.array(b) + 0.3 * (b[3] - b[1]) * np.array([-1, -1, 1, 1]) for b in boxes]
            if side >= 60 and len(pictures) < wanted and not any(meets(b, piece) for b in near):
                pictures.append(cv2.resize(image[y : y + side, x : x + side], (SIDE, SIDE)))
    return pictures


def cost(app: Any, portraits: Sequence[Portrait]) -> None:
    """Network runs and seconds an image, of batches of eight images with 0, 1 and 8 hard ones."""
    session = app.analyzer.model("detection").session
    run, runs = session.run, []
    session.run = lambda x: (runs.append(len(x)), run(x))[1]
    easy, hard = (laid_out(portraits[0], 0.4, angle).image for angle in (0, 180))
    print("\nbatch of 8 images        network runs  images run  seconds an image")
    for mode in ("auto", "robust"):
        for number in (0, 1, 8):
            pixels = np.stack([hard] * number + [easy] * (8 - number))[..., ::-1].copy()
            images = Images.from_comfy(torch.from_numpy(pixels))
            options = DetectionOptions(SIZES, robust=mode == "robust")
            seconds = []
            for _ in range(4):
                runs.clear()
                start = time.perf_counter()
                app.analyzer.detect(images, options)
                seconds.append((time.perf_counter() - start) / 8)
            took = float(np.median(seconds[1:]))
            name = f"{mode}, {number} hard"
            print(f"{name:24} {len(runs):12}  {sum(runs):10}  {took:16.3f}")
    session.run = run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--pack", type=pack_folder, required=True, help="folder of an InsightFace pack"
    )
    parser.add_argument("--photos", type=existing_file, nargs="+", required=True)
    parser.add_argument("--backgrounds", type=existing_file, nargs="*", default=[])
    parser.add_argument("--picture", type=Path, default=Path("robustness.png"))
    chosen = parser.parse_args()

    from insightface.app import FaceAnalysis

    def ours(**settings: Any) -> Any:
        pack = read_pack(chosen.pack.name, chosen.pack)
        return load_for_pack(
            pack, DetectionOptions(**settings), backend="onnxruntime", device="cpu"
        )

    auto, robust = ours(sizes_wh=SIZES), ours(sizes_wh=SIZES, robust=True)
    upstream: dict[str, Find] = {}
    for name, size in (("insightface 640", (640, 640)), ("insightface auto", None)):
        app = FaceAnalysis(name=str(chosen.pack.resolve()), providers=["CPUExecutionProvider"])
        app.models = {"detection": app.det_model}
        app.prepare(ctx_id=-1, det_size=size)
        upstream[name] = app.get
    portraits = [portrait(path, auto.get) for path in chosen.photos]
    scores = run_grid(portraits, {**upstream, "ours, robust": robust.get})
    cells = len(portraits) * len(ZOOMS) * len(ANGLES)
    print(f"\n{cells} images: {len(portraits)} faces, {len(ZOOMS)} sizes, {len(ANGLES)} turns")
    print("recall              any face  best score  largest")
    for name, score in scores.items():
        parts = (score.any, score.best, score.largest)
        print(f"{name:18}  " + "  ".join(f"{part.mean():8.3f}" for part in parts))
    likeness(portraits, robust)
    draw(scores, chosen.picture)
    print(f"picture: {chosen.picture}")
    faintest = ours(sizes_wh=(*SIZES, (1280, 1280)), threshold=0.17)
    pictures = faceless(chosen.backgrounds, faintest.get)
    for name, app in (("auto", auto), ("robust", robust)):
        print(f"faces in {len(pictures)} faceless images, {name}: ", end="")
        print(sum(len(app.get(picture)) for picture in pictures))
    cost(robust, portraits)


if __name__ == "__main__":
    main()
