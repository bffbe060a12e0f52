"""Ours against insightface on the CPU: same files, same photo, turn by turn.

    python benchmarks/insightface_cpu.py --photo PHOTO [--pack FOLDER] [--rounds N] [--stand-in DIR]

Run it with a Python that has the packages (after `python install.py test`: `.env/bin/python`).
Each contestant runs in a process of its own, as its users have it, and they take turns. Every
figure is the median of the rounds with its quartiles; every ratio is made round by round, from
neighbours in time, so that a noisy machine shows in the spread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from install import import_pack

import_pack("fastface")
from fastface.backends.base import DetectionOptions
from fastface.backends.dropin.frames import forget_results
from fastface.backends.graphs.stand_ins import make_stand_in_pack, threshold_for
from fastface.backends.loading import load_for_pack
from fastface.utils.packs.read import read_pack

SIZE = (640, 640)
ALL_FIELDS = ("embedding", "landmark_2d_106", "landmark_3d_68", "pose", "gender", "age")
_PAUSE_SECONDS = 0.25
UPSTREAM, NETWORK = "insightface", "the network alone"


@dataclass(frozen=True)
class Setting:
    """What every contestant is given."""

    pack: Path
    photo: np.ndarray
    threshold: float


def made_app(name: str, setting: Setting) -> Any:
    """The FaceAnalysis of a contestant: insightface's own, or ours on a backend."""
    if name == UPSTREAM:
        from insightface.app import FaceAnalysis

        app: Any = FaceAnalysis(name=str(setting.pack), providers=["CPUExecutionProvider"])
    else:
        pack = read_pack(setting.pack.name, setting.pack)
        options = DetectionOptions((SIZE,))
        backend = "onnxruntime" if name == NETWORK else name
        app = load_for_pack(pack, options, backend=backend, device="cpu")
    app.prepare(ctx_id=0, det_thresh=setting.threshold, det_size=SIZE)
    return app


def instantid(app: Any, photo: np.ndarray) -> list[np.ndarray]:
    """What InstantID's Apply node does with one image: embedding, then keypoints."""
    results = []
    for wanted in ("embedding", "kps"):
        for side in range(640, 128, -64):
            app.det_model.input_size = (side, side)
            faces = app.get(photo)
            if faces:
                sides = [face["bbox"][2:] - face["bbox"][:2] for face in faces]
                results.append(faces[int(np.argmax([w * h for w, h in sides]))][wanted])
                break
    return results


def read_fields(app: Any, photo: np.ndarray, fields: Sequence[str]) -> list[list[Any]]:
    return [[face[name] for name in fields] for face in app.get(photo)]


def task_of(app: Any, name: str, job: str, photo: np.ndarray) -> Callable[[], Any]:
    """What is timed."""
    if name == NETWORK:
        session = app.det_model.session
        blob = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
        feed = {session.get_inputs()[0].name: blob}
        return lambda: session.run(None, feed)
    return {
        "detect": lambda: app.det_model.detect(photo),
        "embeddings": lambda: read_fields(app, photo, ("embedding",)),
        "everything": lambda: read_fields(app, photo, ALL_FIELDS),
        "instantid": lambda: instantid(app, photo),
    }[job]


def contestant(name: str, job: str, again: bool, setting: Setting, pipe: Any) -> None:
    """A process that does its job once for each message, and answers with the seconds it took."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    app = made_app(name, setting)
    task = task_of(app, name, job, setting.photo)
    task()
    pipe.send(None)
    while pipe.recv():
        if not again:
            forget_results()
        start = time.perf_counter()
        task()
        pipe.send(time.perf_counter() - start)


def contest(title: str, job: str, names: Sequence[str], setting: Setting, rounds: int) -> None:
    """Times contestants in turns and prints a table; ratios are to the first of them."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in names:
        pipes[name], far_end = context.Pipe()
        way, _, again = name.partition(", ")
        process = context.Process(
            target=contestant, args=(way, job, bool(again), setting, far_end), daemon=True
        )
        process.start()
        processes.append(process)
        pipes[name].recv()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    order = list(names)
    shuffled = random.Random(0)
    for _ in range(rounds):
        # In no fixed order, so that none of them always follows the same neighbour.
        shuffled.shuffle(order)
        for name in order:
            # insightface's threads go on spinning after a run; its neighbour must not pay for it.
            time.sleep(_PAUSE_SECONDS)
            pipes[name].send(True)
            seconds[name].append(pipes[name].recv())
    for name in names:
        pipes[name].send(False)
    for process in processes:
        process.join()
    print(f"\n{title}\n")
    print(
        "| | ms, median | quartiles | times as fast | quartiles |\n| --- | --- | --- | --- | --- |"
    )
    for name in names:
        low, middle, high = np.percentile(np.array(seconds[name]) * 1000, [25, 50, 75])
        line = f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} |"
        if name != names[0]:
            ratios = np.array(seconds[names[0]]) / np.array(seconds[name])
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            line += f" {middle:.2f} | {low:.2f} to {high:.2f} |"
        print(line if name != names[0] else f"{line} | |", flush=True)


def versions() -> str:
    import insightface
    import onnxruntime
    import torch

    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, insightface {insightface.__version__}, "
        f"OpenCV {cv2.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="default: the one in the insightface wheel")
    parser.add_argument("--pack", type=Path, help="folder with real weights")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--stand-in", type=Path, help="where to keep the pack of random weights")
    arguments = parser.parse_args()
    if arguments.photo:
        photo = cv2.imread(str(arguments.photo))
    else:
        from insightface.data import get_image

        photo = get_image("t1")
    print(versions())
    print(f"photo: {photo.shape[1]} x {photo.shape[0]}")
    if arguments.pack:
        setting = Setting(arguments.pack, photo, 0.5)
        names = [NETWORK, "onnxruntime", "torch", UPSTREAM]
        contest(
            "Detection alone, against the network run", "detect", names, setting, arguments.rounds
        )
        names = [UPSTREAM, "onnxruntime", "torch", "onnxruntime, the same image again"]
        title = "get() and every embedding read"
        contest(title, "embeddings", names, setting, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        pack = make_stand_in_pack("antelopev2", arguments.stand_in or Path(folder))
        app = made_app("onnxruntime", Setting(pack, photo, 0.5))
        setting = Setting(pack, photo, threshold_for(app, photo, 6))
        rounds = max(3, arguments.rounds // 4)
        print(
            f"\nRANDOM WEIGHTS in antelopev2's layer sizes; threshold set for 6 boxes: {pack.name}"
        )
        names = [UPSTREAM, "onnxruntime"]
        title = "InstantID's sequence on one image: embedding, then keypoints"
        contest(title, "instantid", names, setting, rounds)
        contest("get() and every field of every face read", "everything", names, setting, rounds)


if __name__ == "__main__":
    main()
