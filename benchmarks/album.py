"""Folders of pictures and films: everything reported or analysed, speed, memory, sizes, Ray.

    python benchmarks/album.py folder --pack FOLDER --photos FOLDER [--files 1000] [--bad 100]
    python benchmarks/album.py speed --pack FOLDER --photos FOLDER [--files 48] [--rounds 5]
    python benchmarks/album.py people --pack FOLDER --photos FOLDER [--faces 1000 10000]
    python benchmarks/album.py ray --pack FOLDER --photos FOLDER [--files 48]

FOLDER of `--pack` holds a pack's ONNX files, that of `--photos` the photos named in tests/parity.
`folder` makes an album with files of every bad kind, and checks the record of each. `speed` has
OpenCV and insightface analyse the same JPEGs one by one; each contestant has a process of its own,
of which one works at a time, in another order each round. `people` groups faces drawn around those
of the photos, whose people are known. `ray` needs `pip install "ray[data]"`.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from film import quartiles, workers
from inputs import existing_folder, pack_folder
from worker import Worker

from install import import_pack

PEER, EXACT, FAST = "OpenCV + insightface one by one", "album", "album --fast"
CONTESTANTS = (PEER, EXACT, FAST)
#: Photos whose faces all detectors find at any of the sizes that are made.
SURE = ("multiface.jpg", "Stallone.jpg")
SURE_SCORE = 0.6
ENOUGH_SIDE = 1280


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["folder", "speed", "people", "ray"])
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--photos", type=existing_folder, required=True)
    parser.add_argument("--files", type=int)
    parser.add_argument("--bad", type=int, default=100)
    parser.add_argument("--faces", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    options.pack, options.photos = options.pack.resolve(), options.photos.resolve()
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="album-") as work:
        options.work = Path(work)
        status = {"folder": folder, "speed": speed, "people": people, "ray": ray}[options.what](
            options
        )
    print(f"\nload of the machine after: {os.getloadavg()[0]:.2f}")
    return status


def loaded(options: argparse.Namespace) -> Any:
    import_pack("fastface")
    from fastface.backends.interfaces import DetectionOptions
    from fastface.pipeline.loading import load_for_pack
    from fastface.utils.packs.read import read_pack

    return load_for_pack(read_pack("album", options.pack), DetectionOptions(), device="cpu")


# Every kind of file ------------------------------------------------------------------------------


def folder(options: argparse.Namespace) -> int:
    """Makes the album, analyses it in a process of its own, and checks every record."""
    import_pack("fastface")
    album = options.work / "album"
    album.mkdir()
    expected = made(album, options.photos, options.files or 1000, options.bad)
    with Worker("album", analyzed, options, album) as worker:
        answer = worker.answer()
    wrong = [
        (name, answer["records"].get(name))
        for name, wanted in expected.items()
        if not is_right(answer["records"].get(name), wanted)
    ]
    more = set(answer["records"]) - set(expected)
    bad = sum(isinstance(wanted, str) for wanted in expected.values())
    print(f"{len(expected)} files, {bad} of them bad, of these forms and kinds:")
    kinds = Counter(re.sub(r"^\d+ ", "", Path(name).name) for name in expected)
    print("  " + ", ".join(f"{name!r} {count}" for name, count in sorted(kinds.items())))
    print(f"not as expected: {len(wanted_text(wrong))}, unexpected: {len(more)}")
    for line in [*wanted_text(wrong), *map(ascii, more)][:20]:
        print(f"  {line}")
    print(
        f"{answer['faces']} faces of {answer['people']} people, {answer['seconds']:.1f} s, "
        f"{answer['rate']:.1f} images a second"
    )
    print(
        f"memory in MB: {answer['before']:.0f} with the models loaded and used once, at most "
        f"{answer['peak']:.0f}"
    )
    print(
        f"on disk: faces.parquet {answer['table']:,} bytes "
        f"({answer['table'] / answer['faces']:.0f} a face), parts {answer['parts']:,} "
        f"({answer['parts'] / answer['faces']:.0f} a face), "
        f"people.html {answer['page']:,}"
    )
    return int(bool(wrong or more))


def wanted_text(wrong: list[tuple[str, Any]]) -> list[str]:
    return [f"{name!a}: {record}" for name, record in wrong]


def made(album: Path, photos: Path, files: int, bad: int) -> dict[str, str | int]:
    """Makes an album; for each file what is said of it, as a pattern, or how many faces it has."""
    from PIL import Image

    from tests.pipeline.album import odd_files

    rng = random.Random(0)
    expected: dict[str, str | int] = {}

    def put(name: str | bytes, content: bytes, wanted: str | int) -> None:
        path = album / f"{len(expected) % 10}" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        expected[path.relative_to(album).as_posix()] = wanted

    small = Image.open(photos / SURE[1]).convert("RGB")
    expected |= odd_files.special_files(album)
    large = odd_files.bad_files(small)["large.png"]
    while len(expected) < bad:
        for name, (content, says) in odd_files.bad_files(small, len(expected)).items():
            if len(expected) < bad:
                content = large[0] if name == "large.png" else content
                put(f"{len(expected):04d} {name}", content, says)
    faces = {"multiface.jpg": 6, "Stallone.jpg": 1}
    huge = Image.open(photos / SURE[0]).convert("RGB")
    put("0 huge.jpg", odd_files.encoded(huge.resize((14_400, 7560)), "JPEG"), 6)
    put("1 huge.png", odd_files.encoded(huge.resize((12_000, 6300)), "PNG", compress_level=1), 6)
    for name in (*odd_files.ODD_NAMES, odd_files.NOT_UNICODE):
        put(name, odd_files.encoded(varied(small, rng), "PNG"), 1)
    while len(expected) < files:
        photo = SURE[len(expected) % 2]
        picture = varied(Image.open(photos / photo).convert("RGB"), rng)
        for name, content in odd_files.good_files(picture).items():
            if len(expected) < files:
                put(f"{len(expected):04d} {name}", content, faces[photo])
    return expected


def varied(picture: Any, rng: random.Random) -> Any:
    from PIL import ImageEnhance

    width = rng.randrange(480, 721)
    picture = picture.resize((width, round(picture.height * width / picture.width)))
    return ImageEnhance.Brightness(picture).enhance(rng.uniform(0.8, 1.2))


def is_right(record: tuple[str, int] | None, wanted: str | int) -> bool:
    if record is None:
        return False
    problem, faces = record
    if isinstance(wanted, str):
        return bool(re.search(wanted, problem)) and not faces
    return not problem and faces == wanted


def sure_faces(record: Any) -> int:
    """Faces of a file; those that are not sure come and go with what a format loses."""
    return int((record.faces.scores >= SURE_SCORE).sum())


def analyzed(options: argparse.Namespace, album_folder: Path, connection: Connection) -> None:
    app = loaded(options)
    import warnings

    import psutil
    from PIL import Image

    from fastface.pipeline.album.album_analysis import analyze_album
    from fastface.pipeline.album.album_results import write_results

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warm = options.work / "warm"
    warm.mkdir()
    for name in SURE:
        (warm / name).write_bytes((options.photos / name).read_bytes())
    analyze_album(app, [warm], options.work / "warm-output")
    before = psutil.Process().memory_info().rss / 1e6
    output = options.work / "output"
    album = analyze_album(app, [album_folder], output)
    results = write_results(album, app, output, "parquet")
    connection.send(
        {
            "records": {each.path: (each.problem, sure_faces(each)) for each in album.records()},
            "faces": album.faces,
            "people": len(results.people.people),
            "seconds": album.progress.seconds,
            "rate": album.progress.images_per_second,
            "before": before,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "table": results.table.stat().st_size,
            "page": results.page.stat().st_size,
            "parts": sum(part.stat().st_size for part in (output / "parts").iterdir()),
        }
    )


# Speed -------------------------------------------------------------------------------------------


def jpegs(options: argparse.Namespace) -> list[Path]:
    """JPEGs as cameras make them: of 12 million pixels, and of one."""
    from PIL import Image

    target = options.work / "jpegs"
    target.mkdir()
    rng = random.Random(0)
    names = sorted(each.name for each in options.photos.glob("*.jpg"))
    for number in range(options.files or 48):
        picture = Image.open(options.photos / names[number % len(names)]).convert("RGB")
        pixels = 12e6 if number % 2 else 1e6
        scale = (pixels / (picture.width * picture.height)) ** 0.5 * rng.uniform(0.9, 1.1)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size).save(target / f"{number:04d}.jpg", quality=90)
    return sorted(target.iterdir())


def speed(options: argparse.Namespace) -> int:
    files = jpegs(options)
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    spent: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    faces: dict[str, int] = {}
    with workers(CONTESTANTS, options, serve) as contestants:
        for number in range(options.rounds + 1):
            for name in random.sample(CONTESTANTS, len(CONTESTANTS)):
                took, cpu, faces[name] = contestants[name].ask()
                if number:  # the first opens networks and reads the files from the disk
                    seconds[name].append(took)
                    spent[name].append(cpu)
    print(f"{len(files)} JPEGs, {options.rounds} rounds\n")
    columns = ["contestant", "images/s", "quartiles", "times as fast", "quartiles"]
    columns += [
        "CPU seconds an image",
        "quartiles",
        "of the peer's, one over",
        "quartiles",
        "faces",
    ]
    print(f"| {' | '.join(columns)} |")
    print(f"| {' | '.join(['---'] * len(columns))} |")
    for name in CONTESTANTS:
        rates = [len(files) / each for each in seconds[name]]
        each_cpu = [each / len(files) for each in spent[name]]
        cells = [quartiles(rates), ratios(seconds, name), quartiles(each_cpu), ratios(spent, name)]
        print(f"| {name} | {' | '.join(cells)} | {faces[name]} |", flush=True)
    return 0


def ratios(values: dict[str, list[float]], name: str) -> str:
    return quartiles([peer / own for peer, own in zip(values[PEER], values[name], strict=True)])


def serve(name: str, options: argparse.Namespace, connection: Connection) -> None:
    files = sorted((options.work / "jpegs").iterdir())
    run = peer(options, files) if name == PEER else own(options, name)
    while True:
        connection.recv()
        began, cpu = time.perf_counter(), time.process_time()
        answer = run()
        connection.send((time.perf_counter() - began, time.process_time() - cpu, answer))
        time.sleep(0.5)  # threads of engines go on for a while


def peer(options: argparse.Namespace, files: Sequence[Path]) -> Any:
    """OpenCV decodes, insightface analyses each picture and reads its embeddings."""
    import cv2
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(options.pack), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    return lambda: sum(len(app.get(cv2.imread(str(file)))) for file in files)


def own(options: argparse.Namespace, name: str) -> Any:
    """All that the command does, from files to the table and the page."""
    app = loaded(options)
    from fastface.pipeline.album.album import AlbumOptions
    from fastface.pipeline.album.album_analysis import analyze_album
    from fastface.pipeline.album.album_results import write_results
    from fastface.pipeline.album.reading import ReadingLimits

    limits = ReadingLimits(enough_side=ENOUGH_SIDE if name == FAST else None)
    chosen = AlbumOptions(limits=limits, resume=False)
    output = options.work / name

    def run() -> int:
        album = analyze_album(app, [options.work / "jpegs"], output, chosen)
        write_results(album, app, output)
        return album.faces

    return run


# People ------------------------------------------------------------------------------------------


def people(options: argparse.Namespace) -> int:
    """Groups faces of people with one to a hundred photos each, one to five people a photo."""
    import numpy as np
    import torch
    from gallery import drawn_directions, real_embeddings

    import_pack("fastface")
    from fastface.utils.gallery import clusters

    real = real_embeddings(options.pack, options.photos)
    columns = ["faces", "people", "cosine of two photos", "precision", "recall", "found"]
    print(f"| {' | '.join([*columns, 'FAISS, s', 'torch, s'])} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for count in options.faces:
        for low, high in ((0.45, 0.75), (0.3, 0.8)):
            rng = np.random.default_rng(count)
            labels = np.zeros(0, np.int64)
            while len(labels) < count:
                size = min(int(1 + rng.zipf(1.7)), 100)
                labels = np.append(labels, np.full(size, labels.max(initial=-1) + 1))
            labels = labels[:count]
            generator = torch.Generator().manual_seed(count)
            own_of = drawn_directions(real, int(labels.max()) + 1, generator).numpy()
            share = rng.uniform(low, high, (count, 1))
            noise = drawn_directions(real, count, generator).numpy()
            faces = np.sqrt(share) * own_of[labels] + np.sqrt(1 - share) * noise
            photos = beside(labels, rng)
            nobody = np.full(count, -1)
            took = []
            for installed in (clusters.installed_faiss, lambda: None):
                clusters.installed_faiss = installed
                began = time.perf_counter()
                found = clusters.people(faces.astype(np.float32), photos, nobody)
                took.append(time.perf_counter() - began)
            precision, recall = b_cubed(found.tolist(), labels.tolist())
            print(
                f"| {count:,} | {labels.max() + 1:,} | {low} to {high} | {precision:.3f} | "
                f"{recall:.3f} | {found.max() + 1:,} | {took[0]:.1f} | {took[1]:.1f} |",
                flush=True,
            )
    return 0


def beside(labels: Any, rng: Any) -> Any:
    """A photo for each face: one to five different people in each."""
    import numpy as np

    photos = np.zeros(len(labels), np.int64)
    photo, most, there = 0, 1, set()
    for row in rng.permutation(len(labels)).tolist():
        if len(there) >= most or labels[row] in there:
            photo, most, there = photo + 1, int(rng.integers(1, 6)), set()
        photos[row] = photo
        there.add(labels[row])
    return photos


def b_cubed(found: list[int], labels: list[int]) -> tuple[float, float]:
    """For the mean face the share of its group that is of its person, and of it in its group."""
    both, groups, persons = (
        Counter(zip(found, labels, strict=True)),
        Counter(found),
        Counter(labels),
    )
    pairs = list(zip(found, labels, strict=True))
    return (
        statistics.mean(both[pair] / groups[pair[0]] for pair in pairs),
        statistics.mean(both[pair] / persons[pair[1]] for pair in pairs),
    )


# Ray ---------------------------------------------------------------------------------------------

RAY_PROGRAM = """
import sys, time, threading
import psutil, ray
from pathlib import Path
from fastface.pipeline.album.ray_data import AlbumRows, file_rows
if __name__ == "__main__":
    root, workers, output = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    peaks = {}
    def watch():
        while True:
            for process in psutil.process_iter():
                try:
                    if "MapWorker" in " ".join(process.cmdline()):
                        rss = process.memory_info().rss
                        peaks[process.pid] = max(peaks.get(process.pid, 0), rss)
                except psutil.Error:
                    pass
            time.sleep(0.5)
    threading.Thread(target=watch, daemon=True).start()
    began = time.perf_counter()
    files = ray.data.from_items(list(file_rows(root, [root])), override_num_blocks=4 * workers)
    rows = files.map_batches(
        AlbumRows, fn_constructor_kwargs={"root": str(root), "load": {"device": "cpu"}},
        batch_format="pyarrow", batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    rows.write_parquet(output)
    seconds = time.perf_counter() - began
    print(f"{workers} workers: {seconds:.1f} s from the start of the workers to the last file; "
          f"at most {[round(peak / 1e6) for peak in peaks.values()]} MB")
"""


def ray(options: argparse.Namespace) -> int:
    """One process, and one and two workers of a local Ray: seconds, memory, the same rows."""
    from pyarrow import parquet

    files = jpegs(options)
    links = options.work / "libraries"
    links.mkdir()
    (links / "fastface").symlink_to(ROOT, target_is_directory=True)
    program = options.work / "program.py"
    program.write_text(RAY_PROGRAM)
    environment = {
        **os.environ,
        "PYTHONPATH": str(links),
        "FASTFACE_MODELS": str(options.pack),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    print(f"{len(files)} JPEGs")
    one = own(options, EXACT)
    one()
    began = time.perf_counter()
    one()
    print(f"one process, models loaded: {time.perf_counter() - began:.1f} s")
    tables = [parquet.read_table(options.work / EXACT / "faces.parquet").drop_columns(["person"])]
    for count in (1, 2):
        output = options.work / f"ray-{count}"
        command = [sys.executable, str(program), str(options.work / "jpegs"), str(count)]
        subprocess.run([*command, str(output)], env=environment, check=True)
        tables.append(parquet.read_table(output).drop_columns(["person"]))
    keys = [("path", "ascending"), ("face", "ascending")]
    first, *others = (table.sort_by(keys).to_pylist() for table in tables)
    print(f"rows of one process: {len(first)}")
    for count, rows in enumerate(others, start=1):
        print(f"the same of {count} workers: {rows == first}; apart by {apart(first, rows)}")
    return 0


def apart(first: list[dict[str, Any]], other: list[dict[str, Any]]) -> float | str:
    """The largest difference of two numbers of rows that are otherwise the same."""
    if len(first) != len(other):
        return "another number of rows"
    most = 0.0
    for one, two in zip(first, other, strict=True):
        for name, value in one.items():
            values = value if isinstance(value, list) else [value]
            same = two[name] if isinstance(value, list) else [two[name]]
            for left, right in zip(values, same, strict=True):
                if isinstance(left, float):
                    most = max(most, abs(left - right))
                elif left != right:
                    return f"{name}: {left!r} and {right!r}"
    return most


if __name__ == "__main__":
    sys.exit(main())
