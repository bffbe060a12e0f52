"""Whether anything grows while faces are analysed for a long time: memory, descriptors, threads.

    python benchmarks/soak.py --pack FOLDER --photos PHOTO [PHOTO ...]
        [--backend onnxruntime torch facenet-mtcnn] [--calls 100000] [--batches 5000]
        [--picture PNG] [--samples CSV] [--looks 200] [--keep RESULTS]

FOLDER is a pack's folder of ONNX files; `facenet-mtcnn` runs the networks in facenet-pytorch's
wheel instead. Each backend has a process of its own, one thread of computation, and all `--calls`
and `--batches`, spread evenly:

- a call is `get()` of the drop-in object on a cut-out of a photo around a face, of one of 25 sizes
  about 80 x 80, with noise, so that no two images are alike and no cache answers; the embedding
  of every twentieth face is read, where the pack has one;
- a batch is FastFaceDetect and FastFaceEmbed on an IMAGE of 2 such cut-outs; the drawn images are
  made too. Every tenth runs FastFaceLoader again, as a prompt with a changed loader does.

It is sampled 200 times (`--looks`), after Python's garbage was collected: memory, open descriptors,
threads, and objects that the garbage collector knows. The first half fills caches and allocators
and does not count. Three measures of memory, each a part of the one before:

- RSS, what is resident. It counts pages of mapped files, such as libraries, which the kernel takes
  away and gives back as it likes, and which other processes share.
- Anonymous memory, with what was swapped out: what this process has written by itself. On Windows
  its private bytes, elsewhere its unique set size. It grows by megabytes at once, thousands of
  calls apart: when no hole between the living allocations is large enough for the next one, malloc
  takes more from the system, and keeps it when that one is freed.
- Memory in use: anonymous memory without what glibc's malloc keeps free (`fordblks` of
  `mallinfo2`); where another malloc is used, all of it. What is left behind counts here even while
  it fills holes.

A backend is flat if

- the growth of the memory in use over the rest, with its interval of 95 %, lies below 50 bytes a
  call: less than one Python object left behind by each. A batch counts as one call here;
- the interval of the growth of anonymous memory does not lie above that: holes do not go on to
  multiply either;
- no more than 1 in 10 calls leaves an object of the garbage collector, judged as memory in use is;
- the most descriptors and threads at the end are no more than after the first half.

Ends with status 1 if one is not.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from inputs import existing_file, pack_folder

#: What makes facenet-pytorch's networks be used; other names are backends that run the pack.
MTCNN = "facenet-mtcnn"
WARM_UP = 0.5
BATCH = 2
SIDES = (64, 72, 80, 88, 96)
#: Of the detector's input: images are not made larger.
DET_SIZE = 96
#: The same for the photos, whose faces are cut out.
PHOTO_SIZE = (640, 640)
#: One face in so many has its embedding read.
READ_ONE_IN = 20
BYTES_A_CALL = 50
OBJECTS_A_CALL = 0.1
#: Of the samples after the warm-up.
STRETCHES = 10
#: Half the interval of 95 % of a mean of nine, in standard errors.
STUDENT = 2.306
#: A step within a stretch is part of two differences, of the mean before and after: neighbours
#: correlate by 1/4, where steps are independent, and the error of the mean is 1.2 times as large.
OF_MEANS = 1.2
KB, MB = 1e3, 1e6
#: What is sampled of memory, and how it is called.
MEMORY = {"rss": "RSS", "anonymous": "anonymous", "used": "in use"}
COLOURS = {
    **{"rss": "tab:blue", "anonymous": "tab:orange", "used": "tab:purple"},
    **{"descriptors": "tab:green", "threads": "tab:red"},
}


@dataclass(frozen=True)
class Sample:
    """What the process takes after so many calls and batches."""

    calls: int
    seconds: float
    rss: int
    anonymous: int
    used: int
    descriptors: int
    threads: int
    objects: int


@dataclass(frozen=True)
class Growth:
    """What is added by each call, and half its interval of 95 %."""

    value: float
    half: float

    def is_below(self, limit: float) -> bool:
        return self.value + self.half < limit

    def is_above(self, limit: float) -> bool:
        return self.value - self.half > limit


class Cutouts:
    """Pictures around the faces of some photos, each unlike all before."""

    def __init__(self, photos: Sequence[Path], find: Callable[[np.ndarray], Any]) -> None:
        """
        Args:
            photos: Files with faces.
            find: Gives the faces of a picture `[H,W,3]` uint8 BGR, as `FaceAnalysis.get` does.
        """
        self._places: list[tuple[np.ndarray, np.ndarray]] = []
        for path in photos:
            image = cv2.imread(str(path))
            if image is None:
                sys.exit(f"{path} is no picture that OpenCV reads")
            self._places += [(image, face.bbox) for face in find(image)]
        if not self._places:
            sys.exit(f"no face is found in {', '.join(map(str, photos))}")
        self._random = np.random.default_rng(0)

    def next(self, size_wh: tuple[int, int]) -> np.ndarray:
        """A picture `[H,W,3]` uint8 BGR."""
        random = self._random
        image, box = self._places[random.integers(len(self._places))]
        side = max(box[2] - box[0], box[3] - box[1]) * random.uniform(1.4, 2.5)
        middle = (box[:2] + box[2:]) / 2 + random.uniform(-0.1, 0.1, 2) * side
        scale = min(size_wh) / side
        matrix = np.array([[scale, 0, 0], [0, scale, 0]])
        matrix[:, 2] = np.array(size_wh) / 2 - scale * middle
        picture = cv2.warpAffine(image, matrix, size_wh, flags=cv2.INTER_AREA)
        noise = random.integers(0, 8, picture.shape, dtype=np.uint8)
        return cv2.add(picture, noise)


def soak(
    backend: str, pack: Path, photos: Sequence[Path], calls: int, batches: int, looks: int
) -> dict[str, Any]:
    """Runs it all in this process, which has done nothing else; what there is to tell of it."""
    from install import import_pack

    import_pack("fastface")
    import torch

    torch.set_num_threads(1)
    from fastface.nodes import NODE_CLASS_MAPPINGS
    from fastface.pipeline.insightface_compat.result_cache import CACHES

    detect, embed = (NODE_CLASS_MAPPINGS[name]() for name in ("FastFaceDetect", "FastFaceEmbed"))
    app = load(backend, pack)
    cutouts = Cutouts(photos, partial(app.get, det_size=PHOTO_SIZE))
    has_embedding = "recognition" in app.models
    hits = sum(cache.status().hits for cache in CACHES)
    sizes = itertools.cycle(itertools.product(SIDES, SIDES))
    readings = itertools.cycle([True] + [False] * (READ_ONE_IN - 1))
    found = [0, 0]

    def call() -> None:
        faces = app.get(cutouts.next(next(sizes)))
        found[0] += len(faces)
        for face in faces:
            if has_embedding and next(readings):
                assert np.isfinite(face.normed_embedding).all()

    loads = itertools.count()
    loaded = [app]

    def batch() -> None:
        if next(loads) % 10 == 0:
            loaded[0] = load(backend, pack)
        size = next(sizes)
        pictures = np.stack([cutouts.next(size)[..., ::-1] for _ in range(BATCH)])
        images = torch.from_numpy(pictures).float() / 255
        faces = detect.detect(faceanalysis=loaded[0], images=images)["result"][0]
        if has_embedding:
            embed.embed(faceanalysis=loaded[0], images=images, which="all", faces=faces)
        found[1] += len(faces)

    samples = list(sampled(call, calls, batch, batches, looks))
    return {
        "samples": [asdict(sample) for sample in samples],
        "calls": calls,
        "batches": batches,
        "faces of calls": found[0],
        "faces of batches": found[1],
        # An image is looked up again when fields of its faces are worked out; results are not.
        "hits of detections": sum(cache.status().hits for cache in CACHES[:1]) - hits,
    }


def load(backend: str, pack: Path) -> Any:
    """The drop-in object, from the node."""
    from fastface.nodes import NODE_CLASS_MAPPINGS

    own = backend == MTCNN
    return NODE_CLASS_MAPPINGS["FastFaceLoader"]().load(
        model_pack=MTCNN if own else pack.name,
        backend="facenet" if own else backend,
        device="cpu",
        precision="fp32",
        detection="standard",
        det_size=DET_SIZE,
        det_threshold=0.0,
        max_faces=0,
        strict=False,
        download_missing=False,
    )["result"][0]


def sampled(
    call: Callable[[], None], calls: int, batch: Callable[[], None], batches: int, looks: int
) -> Iterator[Sample]:
    """Does both, spread evenly over each other, and looks so many times."""
    began = time.monotonic()
    process = psutil.Process()
    done = taken = 0
    total = calls + batches
    marks = {round(total * number / looks) for number in range(1, looks + 1)}
    for number in range(1, total + 1):
        until = number * batches // total
        if until > done:
            done = until
            batch()
        else:
            call()
        if number in marks:
            yield sample(process, number, time.monotonic() - began, taken)
            taken += 1


def sample(process: psutil.Process, calls: int, seconds: float, taken: int) -> Sample:
    gc.collect()
    handles = process.num_handles if os.name == "nt" else process.num_fds
    anonymous = anonymous_bytes(process)
    return Sample(
        calls,
        round(seconds, 2),
        process.memory_info().rss,
        anonymous,
        anonymous - bytes_kept_free(),
        handles(),
        process.num_threads(),
        len(gc.get_objects()) - taken,  # earlier samples are objects too
    )


def anonymous_bytes(process: psutil.Process) -> int:
    """What this process has written by itself; see the beginning of this file."""
    rollup = Path("/proc/self/smaps_rollup")
    if rollup.exists():
        kilobytes = dict(line.split(":") for line in rollup.read_text().splitlines()[1:])
        return sum(int(kilobytes[name].split()[0]) * 1024 for name in ("Anonymous", "Swap"))
    memory = process.memory_full_info()
    return memory.private if os.name == "nt" else memory.uss


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def bytes_kept_free() -> int:
    """What glibc's malloc keeps of freed memory, in all its arenas; 0 where it is another."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = MallocInfo
    return library.mallinfo2().fordblks


def counted(samples: Sequence[Sample]) -> list[Sample]:
    """Those after the warm-up."""
    last = samples[-1].calls
    return [each for each in samples if each.calls >= WARM_UP * last]


def growth(samples: Sequence[Sample], what: str) -> Growth:
    """The mean growth a call between stretches of the samples after the warm-up.

    Memory grows in steps, after which it stays where it is: samples are like those before, and a
    line through them has residuals that are no noise. What is independent is how much it grows
    from each stretch to the next, and the interval is Student's for the mean of that.
    """
    stretches = np.array_split(np.array(counted(samples), dtype=object), STRETCHES)
    calls = np.diff([np.mean([each.calls for each in some]) for some in stretches])
    grown = np.diff([np.mean([getattr(each, what) for each in some]) for some in stretches])
    value = grown.sum() / calls.sum()
    rest = grown - value * calls
    error = math.sqrt(rest @ rest / (len(rest) - 1) * len(rest)) / calls.sum()
    return Growth(float(value), STUDENT * OF_MEANS * error)


def faults(samples: Sequence[Sample]) -> list[str]:
    """What is not flat, for people; see the beginning of this file."""
    said = []
    used, objects = growth(samples, "used"), growth(samples, "objects")
    anonymous = growth(samples, "anonymous")
    if not used.is_below(BYTES_A_CALL):
        said.append(f"in use: {used.value:.0f} ± {used.half:.0f} bytes a call")
    if anonymous.is_above(BYTES_A_CALL):
        said.append(f"anonymous: {anonymous.value:.0f} ± {anonymous.half:.0f} bytes a call")
    if not objects.is_below(OBJECTS_A_CALL):
        said.append(f"objects: {objects.value:.3f} ± {objects.half:.3f} a call")
    kept = counted(samples)
    tenth = max(len(kept) // 10, 1)
    for what in ("descriptors", "threads"):
        before, after = (
            max(getattr(each, what) for each in some) for some in (kept[:tenth], kept[-tenth:])
        )
        if after > before:
            said.append(f"{what}: {before}, then {after}")
    return said


def at(samples: Sequence[Sample], share: float) -> Sample:
    last = samples[-1].calls
    return min(samples, key=lambda each: abs(each.calls - share * last))


def table(results: dict[str, dict[str, Any]]) -> str:
    shares = (0.1, 0.5, 1.0)
    heads = ["calls", "batches", "faces", "minutes"]
    heads += [f"{what} at {share:.0%}" for what in ("RSS", "in use") for share in shares]
    heads += [f"{what}, kB in 1,000 calls" for what in MEMORY.values()]
    heads += ["objects in 1,000 calls", "descriptors", "threads", "flat"]
    lines = [f"| memory in MB | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for backend, result in results.items():
        samples = result["samples"]
        cells = [f"{result['calls']:,}", f"{result['batches']:,}"]
        cells += [f"{result['faces of calls'] + result['faces of batches']:,}"]
        cells += [f"{samples[-1].seconds / 60:.1f}"]
        for what in ("rss", "used"):
            cells += [f"{getattr(at(samples, share), what) / MB:.1f}" for share in shares]
        cells += [in_1000_calls(growth(samples, what), KB) for what in MEMORY]
        cells += [in_1000_calls(growth(samples, "objects"), 1.0)]
        for what in ("descriptors", "threads"):
            cells.append(", ".join(str(getattr(at(samples, share), what)) for share in shares))
        cells.append("; ".join(faults(samples)) or "yes")
        lines.append(f"| {backend} | {' | '.join(cells)} |")
    return "\n".join(lines)


def in_1000_calls(line: Growth, unit: float) -> str:
    thousand = 1000 / unit
    return f"{line.value * thousand:+.1f} ± {line.half * thousand:.1f}"


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Memory, its change after the warm-up, descriptors and threads, a column a backend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(results), 7.2), layout="constrained")
    rows = figure.subplots(
        3, len(results), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 3, 2)
    )
    for (memory, change, counts), (backend, result) in zip(rows.T, results.items(), strict=True):
        samples = result["samples"]
        x = [each.calls / 1000 for each in samples]
        kept = counted(samples)
        after = [each.calls / 1000 for each in kept]
        for what, label in MEMORY.items():
            line = {"color": COLOURS[what], "label": label}
            memory.plot(x, [getattr(each, what) / MB for each in samples], **line)
            begin = getattr(kept[0], what)
            change.plot(after, [(getattr(each, what) - begin) / MB for each in kept], **line)
        ends = np.array([after[0], after[-1]])
        limit = (ends - after[0]) * 1000 * BYTES_A_CALL / MB
        change.plot(ends, limit, "k--", linewidth=1, label=f"{BYTES_A_CALL} bytes a call")
        memory.set_title(
            f"{backend}: in use {in_1000_calls(growth(samples, 'used'), KB)} kB in 1,000 calls",
            size=9,
        )
        for what in ("descriptors", "threads"):
            values = [getattr(each, what) for each in samples]
            counts.plot(x, values, color=COLOURS[what], label=what)
        counts.set_xlabel("thousand calls and batches; grey: warm-up", size=8)
        for panel in (memory, change, counts):
            panel.axvspan(0, WARM_UP * x[-1], color="0.9")
            panel.set_xlim(0, x[-1])
            panel.tick_params(labelsize=8)
            panel.grid(alpha=0.3)
    titles = ("megabytes", "megabytes since the warm-up", "number")
    for (panel, *_), title in zip(rows, titles, strict=True):
        panel.set_ylabel(title, size=8)
        panel.legend(fontsize=8, loc="best")
    for row in (rows[0], rows[2]):
        row[0].set_ylim(bottom=0)
    figure.savefig(path, dpi=110)


def in_a_process(backend: str, options: argparse.Namespace) -> dict[str, Any]:
    """`soak` in a process that does nothing else."""
    command = [sys.executable, __file__, "--inside", backend, str(options.pack)]
    command += [str(options.calls), str(options.batches), str(options.looks)]
    command += map(str, options.photos)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FASTFACE_")}
    # Threads that wait for work spin, and there is none for two.
    kept |= {"FASTFACE_MODELS": str(options.pack), "OMP_NUM_THREADS": "1"}
    kept |= {"OPENBLAS_NUM_THREADS": "1", "FASTFACE_THREADS": "1"}
    if options.keep is not None:
        kept["FASTFACE_CACHE_RESULTS"] = kept["FASTFACE_CACHE_CROPS"] = str(options.keep)
    done = subprocess.run(command, env=kept, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{backend} ended with status {done.returncode}")
    result = json.loads(done.stdout.splitlines()[-1])
    result["samples"] = [Sample(**each) for each in result["samples"]]
    return result


def write_samples(results: dict[str, dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["backend", *Sample.__dataclass_fields__])
        for backend, result in results.items():
            rows.writerows([backend, *asdict(each).values()] for each in result["samples"])


def main(arguments: Sequence[str] | None = None) -> int:
    if sys.argv[1:2] == ["--inside"]:
        backend, pack, calls, batches, looks, *photos = sys.argv[2:]
        paths = [Path(each) for each in photos]
        told = soak(backend, Path(pack), paths, int(calls), int(batches), int(looks))
        print(json.dumps(told))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--photos", type=existing_file, nargs="+", required=True)
    parser.add_argument("--backend", nargs="+", default=["onnxruntime", "torch", MTCNN])
    parser.add_argument("--calls", type=int, default=100_000, help="of get(), a backend")
    parser.add_argument("--batches", type=int, default=5_000, help="of the nodes, a backend")
    parser.add_argument("--looks", type=int, default=200, help="how often it is sampled")
    parser.add_argument("--picture", type=Path, default=Path("soak.png"))
    parser.add_argument("--samples", type=Path, help="where all samples are written")
    parser.add_argument("--keep", type=int, help="results that caches keep; else their default")
    options = parser.parse_args(arguments)
    fewest = math.ceil(STRETCHES / WARM_UP)
    if options.looks < fewest:
        parser.error(f"argument --looks: got {options.looks}, expected {fewest} or more")
    results = {}
    for backend in options.backend:
        results[backend] = in_a_process(backend, options)
        print(f"  {backend} done", file=sys.stderr, flush=True)
    print(table(results))
    for backend, result in results.items():
        if result["hits of detections"]:
            print(f"{backend}: {result['hits of detections']} calls were answered by a cache")
    draw(results, options.picture)
    print(f"picture: {options.picture}")
    if options.samples:
        write_samples(results, options.samples)
    return 1 if any(faults(result["samples"]) for result in results.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
