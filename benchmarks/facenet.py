"""Ours against facenet-pytorch's own MTCNN: same weights, same images, turn by turn.

    python benchmarks/facenet.py --photo PHOTO --video VIDEO [--device cuda] [--rounds N]

Run it with a Python that has the packages (after `python install.py test`: `.env/bin/python`).
Both run in this process, on the same torch and its threads, in random order. Every figure is the
median of the rounds with its quartiles; every ratio is made round by round, from neighbours in
time, so that a noisy machine shows in the spread. The answers are compared before anything is
timed. On a GPU the images lie there already, for both.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file

from install import import_pack

import_pack("fastface")
from fastface.backends.interfaces import DetectionOptions
from fastface.benchmark.timing import ratios, summary, timed
from fastface.benchmark.transfers import bytes_to_host
from fastface.pipeline.loading import load_face_analysis
from fastface.utils.faces import Faces
from fastface.utils.images import Images

PEER, PEER_BATCH, OURS = "facenet-pytorch", "facenet-pytorch, its batch mode", "ours"
_EVERY_FACE = DetectionOptions(threshold=0.0)


def read_frames(video: Path, count: int) -> np.ndarray:
    """The first frames, `[N,H,W,3]` uint8 RGB."""
    capture, frames = cv2.VideoCapture(str(video)), []
    while len(frames) < count:
        ok, frame = capture.read()
        if not ok:
            raise SystemExit(f"{video} has {len(frames)} frames, {count} were asked for")
        frames.append(frame[..., ::-1])
    return np.stack(frames)


def peer_on(device: str) -> Any:
    from facenet_pytorch import MTCNN

    return MTCNN(keep_all=True, select_largest=False, device=torch.device(device)).eval()


class Contest:
    """The ways to detect the faces of `[N,H,W,3]` uint8 RGB images on one device."""

    def __init__(self, images: np.ndarray, device: str, batch: int) -> None:
        """`batch`: images that the peer's batch mode is given at once."""
        self._device, self._batch = device, batch
        self._peer = peer_on(device)
        self._analyzer = load_face_analysis(model_pack="facenet-mtcnn", device=device).analyzer
        self._tensor = torch.from_numpy(images).to(device)
        # On the CPU the library takes arrays as they are; a tensor on a GPU spares it the upload.
        self._for_peer: Any = images if device == "cpu" else self._tensor

    def ways(self) -> dict[str, Callable[[], Any]]:
        ways: dict[str, Callable[[], Any]] = {PEER: self.peer}
        if len(self._tensor) > 1:
            ways[PEER_BATCH] = self.peer_in_batches
        return ways | {OURS: self.ours}

    def peer(self) -> list[Any]:
        return [self._peer.detect(image, landmarks=True) for image in self._for_peer]

    def peer_in_batches(self) -> list[Any]:
        starts = range(0, len(self._tensor), self._batch)
        parts = [
            self._peer.detect(self._for_peer[start : start + self._batch], landmarks=True)
            for start in starts
        ]
        return [found for part in parts for found in zip(*part, strict=True)]

    def ours(self) -> Faces:
        return self._analyzer.detect(Images.from_comfy(self._tensor), _EVERY_FACE)

    def differences(self) -> str:
        """How far the answers are apart; ends the program when they are not the same faces."""
        ours, worst = self.ours().to("cpu"), np.zeros(3)
        for number, (boxes, scores, points) in enumerate(self.peer()):
            found = ours.of_image(number)
            count = 0 if boxes is None else len(boxes)
            if len(found) != count:
                raise SystemExit(f"image {number}: the peer finds {count} faces, we {len(found)}")
            if count:
                worst = np.maximum(worst, _apart(found, boxes, scores, points))
        box, landmark, score = worst
        return (
            f"{len(ours)} faces, the same; furthest apart: boxes {box:.2g} px, "
            f"landmarks {landmark:.2g} px, probabilities {score:.2g}"
        )


def _apart(found: Faces, boxes: Any, scores: Any, points: Any) -> list[float]:
    expected = [np.asarray(values, dtype=np.float32) for values in (boxes, points, scores)]
    order = torch.cdist(found.boxes, torch.from_numpy(expected[0])).argmin(1).numpy()
    got: list[Any] = [found.boxes, found.landmarks, found.scores]
    return [
        float(np.abs(mine.numpy() - theirs[order]).max())
        for mine, theirs in zip(got, expected, strict=True)
    ]


def measure(ways: dict[str, Callable[[], Any]], device: str, rounds: int) -> None:
    """Times the ways in turns and prints a table; ratios are to the first and, if any, second."""
    turns: dict[str, list[list[float]]] = {name: [] for name in ways}
    order, shuffled = list(ways), random.Random(0)
    for number in range(-1, rounds):
        shuffled.shuffle(order)
        for name in order:
            seconds, _ = timed(ways[name], torch.device(device))
            if number >= 0:  # the first round warms up
                turns[name].append([seconds])
    print("\n| | ms, median | quartiles |\n| --- | --- | --- |")
    for name, each in turns.items():
        low, middle, high = _quartiles(summary(each), 1000)
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} |")
    for name in list(ways)[:-1]:
        low, middle, high = _quartiles(ratios(turns[name], turns[OURS]))
        print(f"\nours against {name}: {middle:.2f} times as fast, {low:.2f} to {high:.2f}")
    sys.stdout.flush()


def _quartiles(figures: dict[str, Any], unit: float = 1.0) -> list[float]:
    return [figures[name] * unit for name in ("q25", "median", "q75")]


def hardware(device: str) -> str:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    return (
        f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
    )


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photo", type=existing_file, required=True)
    parser.add_argument("--video", type=existing_file, required=True)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8, help="of the peer's batch mode")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    picture = cv2.imread(str(arguments.photo))
    if picture is None:
        parser.error(f"{arguments.photo} can't be read as a picture")
    photo = picture[None, ..., ::-1].copy()
    frames = read_frames(arguments.video, arguments.frames)
    print(hardware(arguments.device))
    for title, images, rounds in (
        ("One photo", photo, arguments.rounds),
        (f"{len(frames)} frames", frames, max(3, arguments.rounds // 3)),
    ):
        contest = Contest(images, arguments.device, arguments.batch)
        print(f"\n{title}, {images.shape[2]} x {images.shape[1]}: {contest.differences()}")
        measure(contest.ways(), arguments.device, rounds)
        copied = bytes_to_host(contest.ours, torch.device(arguments.device))
        if copied:
            print(f"\ncopied to the host: {copied['total']} bytes; pixels: {images.nbytes} bytes")


if __name__ == "__main__":
    main()
