"""What cheaper precisions of a CPU gain: detection at 640 pixels, and the embedding of every face.

    python benchmarks/precisions.py --pack FOLDER --photo PHOTO [--shaped antelopev2 buffalo_s]
    python benchmarks/precisions.py --pack FOLDER --quality PICTURE [PICTURE ...]

FOLDER is a pack's folder of ONNX files with detection and recognition. `fast` is what is proven for
it on this machine, and is proven first where it is not. Packs that are only shaped like released
ones have random weights, which prove nothing: they run in the precisions that were proven for the
real pack, and embed the faces that the real pack found. insightface's own detector and recognition
run beside them. All of it takes turns in one process, in random order, with a rest before each.
With `--quality` nothing is timed: the answers of each precision are held against fp32 on pictures
that it was not proven on, by the limits of the proof.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from inputs import existing_file, pack_folder

from install import import_pack

import_pack("fastface")
from fastface.backends.base import GraphBackend
from fastface.backends.interfaces import DetectionOptions, Detector, Head
from fastface.backends.onnx_graphs.int8_graphs import Int8Recipe
from fastface.backends.placement import Placement
from fastface.backends.registry import get_backend
from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
from fastface.models.opening import open_model
from fastface.pipeline.calibration import CalibrationPictures, as_images, calibration_pictures
from fastface.pipeline.model_batches import detect_images
from fastface.pipeline.precision_choice import proven_placement
from fastface.pipeline.precision_proof import PrecisionProver
from fastface.utils import host
from fastface.utils.faces import Faces
from fastface.utils.packs import ModelPack, Task
from fastface.utils.packs.read import read_pack
from fastface.utils.pictures import read_picture

SIDE = 640
TASKS: tuple[Task, ...] = ("detection", "recognition")
EXACT = Placement("cpu", "fp32")
#: Seconds before each call: threads of another engine may still be spinning.
REST = 0.02

Call = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pack", type=pack_folder, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--photo", type=existing_file)
    what.add_argument("--quality", nargs="+", type=existing_file, metavar="PICTURE")
    parser.add_argument("--shaped", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino", "torch"])
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args(arguments)
    real = read_pack(options.pack.name, options.pack)
    if options.quality:
        pictures = tuple(read_picture(picture) for picture in options.quality)
        print(f"{len(pictures)} pictures")
        for name in options.backends:
            compare_answers(real, name, CalibrationPictures((), pictures, "", "given ones"))
        return 0
    photo = read_picture(options.photo)
    chosen = dict(placements(real, options.backends))
    if not chosen:
        parser.error("none of the backends computes in anything but fp32 here")
    faces = detect(open_model(get_backend("onnxruntime"), real, "detection", EXACT), real, photo)
    print(
        f"{len(faces)} faces, {photo.shape[1]} x {photo.shape[0]} pixels; {options.rounds} rounds"
    )
    for name, placement in chosen.items():
        how = ", ".join(f"{task} {precision}" for task, precision, _ in placement.proven or ())
        print(f"{name}: fast is {how or 'fp32'}")
    for name in ("", *options.shaped):
        pack = real
        if name:
            folder = make_synthetic_pack(name, host.cache_folder() / "stand_ins")
            pack = read_pack(folder.name, folder)
            pack = replace(pack, det_threshold=real.det_threshold)
        compared(pack, chosen, photo, faces, options.rounds)
    return 0


def compare_answers(pack: ModelPack, name: str, pictures: CalibrationPictures) -> None:
    """Prints what each precision of a backend makes of other pictures than its proof's."""
    backend = get_backend(name)
    if not isinstance(backend, GraphBackend) or backend.why_unavailable():
        return
    proved = PrecisionProver(pack, backend, "cpu", calibration_pictures())
    prover = PrecisionProver(pack, backend, "cpu", pictures)
    for precision in backend.proven_precisions("cpu"):
        for task in TASKS:
            proof = proved.proof(task, precision)
            placement = Placement("cpu", precision, True, ((task, precision, proof.recipe),))
            report = prover.report(task, open_model(backend, pack, task, placement))
            print(f"{name} {task} {precision}: by its proof {proof.report.verdict}, here {report}")


def placements(pack: ModelPack, backends: Sequence[str]) -> Iterator[tuple[str, Placement]]:
    """Of each backend that is here and computes in more than fp32, its `fast`."""
    for name in backends:
        backend = get_backend(name)
        is_here = isinstance(backend, GraphBackend) and not backend.why_unavailable()
        if is_here and backend.proven_precisions("cpu"):
            yield name, proven_placement(pack, backend, Placement("cpu", "fast"), TASKS)


def compared(
    pack: ModelPack, chosen: dict[str, Placement], photo: np.ndarray, faces: Faces, rounds: int
) -> None:
    """Measures one pack, and prints a table of it."""
    calls: dict[str, tuple[Call, Call]] = {}
    for name, placement in chosen.items():
        calls[f"{name} fp32"] = ours(pack, name, EXACT, photo, faces)
        calls[f"{name} fast"] = ours(pack, name, placement, photo, faces)
    with suppress(ImportError):
        calls["insightface"] = insightfaces(pack, photo, faces)
    times = measured(
        {
            f"{name} {job}": call
            for name, pair in calls.items()
            for job, call in zip(("detect", "both"), pair, strict=True)
        },
        rounds,
    )
    print(
        f"\n{pack.name}\n\n| | detection, ms | times as fast as onnxruntime fp32 | and embeddings, "
        "ms | as the same in fp32 | as insightface |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name in calls:
        alone, both = times[f"{name} detect"], times[f"{name} both"]
        base = times["onnxruntime fp32 detect"] if "onnxruntime fp32" in calls else alone
        same = times[f"{name.removesuffix(' fast')} fp32 both"] if "fast" in name else both
        upstream = times.get("insightface both", both)
        print(
            f"| {name} | {shown(alone)} | {ratio(base, alone)} | {shown(both)} | "
            f"{ratio(same, both)} | {ratio(upstream, both)} |"
        )


def ours(
    pack: ModelPack, name: str, placement: Placement, photo: np.ndarray, faces: Faces
) -> tuple[Call, Call]:
    """Detection, and detection with the embedding of every face, as the analyzer has them done."""
    backend = get_backend(name)
    for task, precision, recipe in placement.proven or ():
        if precision == "int8":
            quantise(pack, name, task, recipe)
    detector = open_model(backend, pack, "detection", placement)
    head = open_model(backend, pack, "recognition", placement)
    images = as_images([photo])
    if not isinstance(head, Head):
        raise TypeError(f"{pack.name} has no recognition")

    def both() -> None:
        detect(detector, pack, photo)
        head.describe(images, faces)["embeddings"].cpu()

    return partial(detect, detector, pack, photo), both


def quantise(pack: ModelPack, name: str, task: Task, recipe: str) -> None:
    """Makes the int8 graphs by the recipe that is proven for another pack."""
    pictures = calibration_pictures()
    prover = PrecisionProver(pack, get_backend(name), "cpu", pictures)
    prover.quantise(task, Int8Recipe(pictures.digest, float(recipe.rpartition("/")[2])))


def detect(detector: Detector | Head, pack: ModelPack, photo: np.ndarray) -> Faces:
    if not isinstance(detector, Detector):
        raise TypeError(f"{pack.name} has no detector")
    options = DetectionOptions(((SIDE, SIDE),), pack.det_threshold, pack.nms_threshold)
    return detect_images(detector, as_images([photo]), options).to("cpu")


def insightfaces(pack: ModelPack, photo: np.ndarray, faces: Faces) -> tuple[Call, Call]:
    """The same by insightface."""
    from insightface.app.common import Face
    from insightface.model_zoo import get_model

    made: list[Any] = [
        get_model(str(pack.model(task).path), providers=["CPUExecutionProvider"]) for task in TASKS
    ]
    detector, recognition = made
    detector.prepare(-1, input_size=(SIDE, SIDE), det_thresh=pack.det_threshold)
    bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    if faces.landmarks is None:
        raise ValueError(f"{pack.name} gives no landmarks")
    known = [
        Face(bbox=box, kps=kps)
        for box, kps in zip(faces.boxes.numpy(), faces.landmarks.numpy(), strict=True)
    ]

    def both() -> None:
        detector.detect(bgr)
        for face in known:
            recognition.get(bgr, face)

    return partial(detector.detect, bgr), both


def measured(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call in each round."""
    for call in calls.values():
        for _ in range(4):  # whatever is prepared for shapes that keep coming
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(sorted(calls), len(calls)):
            time.sleep(REST)
            began = time.perf_counter()
            calls[name]()
            times[name].append(1e3 * (time.perf_counter() - began))
    return times


def shown(times: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(times, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def ratio(slower: Sequence[float], faster: Sequence[float]) -> str:
    """Round by round: the median and the quartiles."""
    low, middle, high = statistics.quantiles(
        [one / other for one, other in zip(slower, faster, strict=True)], n=4
    )
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
