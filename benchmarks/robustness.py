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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from install import import_pack

import_pack("fastface")
from fastface.backends.base import DetectionOptions
from fastface.backends.dropin.results import forget_results
from fastface.backends.loading import load_for_pack
from fastface.utils.images import Images
from fastface.utils.packs.read import read_pack

SIDE = 640
ZOOMS = (0.03, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3, 1.5, 1.7)
ANGLES = tuple(range(0, 360, 45))
SIZES = ((128, 128), (640, 640))
#: Of scikit-image's pictures, those that hold no face of man or beast.
FACELESS_OF_SKIMAGE = (
    *("brick", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon", "page"),
    *("retina", "rocket", "text"),
)
Find = Callable[[np.ndarray], list[Any]]


@dataclass(frozen=True)
class Portrait:
    """A picture `[H,W,3]` BGR with one face, and what `auto` says of that face."""

    name: str
    picture: np.ndarray
    face: Any


@dataclass(frozen=True)
class Cell:
    """A face laid into an image: its true box, corner points and roll."""

    image: np.ndarray
    box: np.ndarray
    roll_deg: float

    def is_found_by(self, face: Any) -> bool:
        low = np.maximum(self.box[:2], face.bbox[:2])
        shared = np.prod(np.clip(np.minimum(self.box[2:], face.bbox[2:]) - low, 0, None))
        either = area(self.box) + area(face.bbox) - shared
        off = (roll_deg(face.kps) - self.roll_deg + 180) % 360 - 180
        return bool(shared > 0.4 * either and abs(off) < 45)


@dataclass
class Score:
    """What one contestant made of the grid, by zoom and angle."""

    any: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))
    best: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))
    largest: np.ndarray = field(default_factory=lambda: np.zeros((len(ZOOMS), len(ANGLES))))
    cosines: list[float] = field(default_factory=list)


def area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def roll_deg(kps: np.ndarray) -> float:
    """From the eyes to the mouth: 0 is upright."""
    down = kps[3:].mean(0) - kps[:2].mean(0)
    return float(np.degrees(np.arctan2(-down[0], down[1])))


def portrait(path: Path, find: Find) -> Portrait:
    image = read_image(path)
    faces = find(image)
    if not faces:
        sys.exit(f"{path}: no face is found in it; give photos of upright faces")
    left, top, right, bottom = faces[0].bbox
    height, width = image.shape[:2]
    around = 2.0 * (bottom - top)
    while around > 0:
        x, y = max(0, int(left - around)), max(0, int(top - around))
        end_x, end_y = min(width, int(right + around)), min(height, int(bottom + around))
        if not any(meets(face.bbox, (x, y, end_x, end_y)) for face in faces[1:]):
            break
        around -= 2
    picture = image[y:end_y, x:end_x].copy()
    alone = find(picture)
    if len(alone) != 1:
        sys.exit(f"{path}: no piece with one face alone; give photos of single faces")
    return Portrait(path.stem, picture, alone[0])


def meets(box: Sequence[float], other: Sequence[float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def laid_out(subject: Portrait, zoom: float, angle: int) -> Cell:
    """The face in the middle, at `zoom` of the height, turned; the mean colour around the photo."""
    box, image = subject.face.bbox, subject.picture
    size = box[2:] - box[:2]
    scale = zoom * SIDE / size[1]
    colour = image.mean((0, 1)).tolist()
    matrix = cv2.getRotationMatrix2D(((box[:2] + box[2:]) / 2).tolist(), angle, scale)
    matrix[:, 2] += SIDE / 2 - (box[:2] + box[2:]) / 2
    roll = roll_deg(subject.face.kps @ matrix[:, :2].T)
    if scale < 1:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array(image.shape[1::-1]) / small.shape[1::-1]
        matrix[:, 2] += matrix[:, :2] @ ((ratio - 1) / 2)
        matrix[:, :2] *= ratio
        image = small
    laid = cv2.warpAffine(image, matrix, (SIDE, SIDE), borderValue=colour)
    turned = {0: size, 90: size[::-1]}.get(angle % 180, np.full(2, size.mean())) * scale / 2
    return Cell(laid, np.concatenate((SIDE / 2 - turned, SIDE / 2 + turned)), roll)


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
            if cell.is_found_by(faces[0]) and zoom * SIDE >= 60 and name == "ours, robust":
                score.cosines.append(
                    float(faces[0].normed_embedding @ subject.face.normed_embedding)
                )
        forget_results()
        if column == len(ANGLES) - 1:
            print(f"  {subject.name}: {zoom} done", file=sys.stderr, flush=True)
    return scores


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


def read_image(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        sys.exit(f"{path} is no image that can be read")
    return image


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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", type=Path, required=True, help="folder of an InsightFace pack")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--backgrounds", type=Path, nargs="*", default=[])
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
    cosines = np.array(scores["ours, robust"].cosines)
    print(
        f"embedding against the upright original, faces of 60 px or more: {len(cosines)} faces, "
        f"cosine median {np.median(cosines):.3f}, 5th percentile {np.percentile(cosines, 5):.3f}, "
        f"above 0.9: {(cosines > 0.9).mean():.3f}"
    )
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
