"""A film from file to faces: frames a second beside OpenCV and insightface, memory, and kills.

    python benchmarks/film.py speed --pack FOLDER --film FILM [--backend auto] [--rounds 5]
    python benchmarks/film.py memory --pack FOLDER --film FILM [--frames 100 10000]
    python benchmarks/film.py kill --pack FOLDER --film FILM [--frames 10000] [--at 5000]

FOLDER is a pack's folder of ONNX files. Each contestant has a process of its own; of these one
works at a time, in another order each round. Recall is the share of the faces of `exact` that
`fast` finds too (overlap above 0.5). For memory and kills the film is scaled to 640 x 360, if it is
larger, and repeated in one file until it has so many frames.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from inputs import existing_file, pack_folder
from worker import Worker, WorkerEnded

from install import import_pack

PEER = "OpenCV + insightface one by one"
CONTESTANTS = (PEER, "exact", "fast")
SMALL_WH = (640, 360)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "memory", "kill"])
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--film", type=existing_file, required=True)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, nargs="+", default=[])
    parser.add_argument("--at", type=int, default=5000)
    parser.add_argument("--det-size", type=int, default=640)
    parser.add_argument("--accuracy", choices=["exact", "fast"], default="exact")
    options = parser.parse_args(arguments)
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}\n")
    {"speed": speed, "memory": memory, "kill": kill}[options.what](options)
    print(f"\nload of the machine after: {os.getloadavg()[0]:.2f}")
    return 0


# Speed -------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    answers: dict[str, Any] = {}
    with workers(CONTESTANTS, options, serve) as contestants:
        for number in range(options.rounds + 1):
            for name in random.sample(CONTESTANTS, len(CONTESTANTS)):
                took, answers[name] = contestants[name].ask()
                if number:  # the first opens networks and reads the film from the disk
                    seconds[name].append(took)
    frames = answers["exact"]["frames"]
    print(f"{frames} frames, {options.rounds} rounds, backend {answers['exact']['backend']}\n")
    print("| contestant | frames/s | quartiles | times as fast | quartiles | faces |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in CONTESTANTS:
        rates = [frames / each for each in seconds[name]]
        times = [peer / own for peer, own in zip(seconds[PEER], seconds[name], strict=True)]
        print(f"| {name} | {quartiles(rates)} | {quartiles(times)} | {answers[name]['faces']} |")
    recall, extra = recall_of(answers["fast"]["boxes"], answers["exact"]["boxes"])
    print(f"\nrecall of the faces of exact by fast: {recall:.4f}; faces of fast alone: {extra:.4f}")


def quartiles(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3g} | {low:.3g} to {high:.3g}"


def recall_of(found: list[Any], wanted: list[Any]) -> tuple[float, float]:
    """The share of wanted boxes that were found, and of found ones that were not wanted."""
    import_pack("fastface")
    import torch

    from fastface.utils.boxes import overlaps

    met = extra = 0
    for ours, theirs in zip(found, wanted, strict=True):
        if ours and theirs:
            shared = overlaps(torch.tensor(theirs), torch.tensor(ours)) > 0.5
            met += int(shared.any(1).sum())
            extra += int((~shared.any(0)).sum())
        else:
            extra += len(ours)
    return met / max(1, sum(map(len, wanted))), extra / max(1, sum(map(len, found)))


@contextmanager
def workers(
    names: Sequence[str], options: argparse.Namespace, serve: Any
) -> Iterator[dict[str, Worker]]:
    """A process for each contestant, that does its work whenever it is asked to."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(name, serve, name, options)) for name in names}


def serve(name: str, options: argparse.Namespace, connection: Connection) -> None:
    run = peer(options) if name == PEER else own(options, name)
    while True:
        connection.recv()
        began = time.perf_counter()
        answer = run()
        connection.send((time.perf_counter() - began, answer))
        time.sleep(0.5)  # threads of engines go on for a while


def peer(options: argparse.Namespace) -> Any:
    """OpenCV decodes, insightface analyses each frame."""
    import cv2
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(options.pack), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(options.det_size, options.det_size))

    def run() -> dict[str, Any]:
        film, faces = cv2.VideoCapture(str(options.film)), 0
        while True:
            is_there, frame = film.read()
            if not is_there:
                return {"faces": faces}
            faces += len(app.get(frame))

    return run


def own(options: argparse.Namespace, accuracy: str) -> Any:
    import_pack("fastface")
    os.environ["FASTFACE_MODELS"] = str(options.pack)
    from fastface.pipeline.film.film_analysis import analyze_film
    from fastface.pipeline.loading import load_face_analysis
    from fastface.utils.video.film import FilmFile
    from fastface.utils.video.selection import Selection

    app = load_face_analysis(
        model_pack=options.pack.name,
        backend=options.backend,
        device="cpu",
        det_size=options.det_size,
    )
    # What is kept of films is part of the work, but not of others' results.
    folder = tempfile.TemporaryDirectory()
    os.environ["XDG_CACHE_HOME"] = folder.name

    def run() -> dict[str, Any]:
        _ = folder
        film = FilmFile(options.film)
        faces = analyze_film(app, film, Selection(), accuracy, resume=False).tracks.faces
        boxes = [faces.of_image(place).boxes.tolist() for place in range(len(film.times))]
        return {
            "faces": len(faces),
            "frames": len(film.times),
            "boxes": boxes,
            "backend": app.analyzer.backend.name,
        }

    return run


# Memory and kills --------------------------------------------------------------------------------


def memory(options: argparse.Namespace) -> None:
    peaks = []
    print("| frames | faces | seconds | peak memory, MB | of the first |")
    print("| --- | --- | --- | --- | --- |")
    for count in options.frames or [100, 10_000]:
        with repeated(options.film, count) as film, tempfile.TemporaryDirectory() as folder:
            answer = analysed(options, film, Path(folder))
        peaks.append(answer["peak"])
        share = answer["peak"] / peaks[0]
        print(
            f"| {count} | {answer['faces']} | {answer['seconds']:.0f} "
            f"| {answer['peak'] / 1e6:.0f} | {share:.3f} |",
            flush=True,
        )


def kill(options: argparse.Namespace) -> None:
    (count,) = options.frames or [10_000]
    with repeated(options.film, count) as film, tempfile.TemporaryDirectory() as folder:
        try:
            analysed(options, film, Path(folder), kill_at=options.at)
        except WorkerEnded as error:
            if error.status != -signal.SIGKILL:
                raise
        else:
            sys.exit(f"{count} frames were analysed before --at {options.at}")
        again = analysed(options, film, Path(folder))
        with tempfile.TemporaryDirectory() as other:
            whole = analysed(options, film, Path(other))
        left = [str(path) for path in Path(folder).rglob("*.tmp")]
    print(f"{count} frames, killed with SIGKILL at {options.at}, then run again")
    print(f"- went on at frame {again['kept']}")
    print(f"- the same result as one run: {again['digest'] == whole['digest']}")
    print(f"- unfinished files left: {len(left)}")


def analysed(
    options: argparse.Namespace, film: Path, cache: Path, kill_at: int | None = None
) -> dict[str, Any]:
    """Analyses a film in a process of its own, which ends itself with SIGKILL where told to."""
    with Worker(film.name, analyse, options, film, cache, kill_at) as worker:
        return worker.answer()


def analyse(
    options: argparse.Namespace, film: Path, cache: Path, kill_at: int | None, answer: Connection
) -> None:
    import hashlib
    import resource

    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.environ["FASTFACE_MODELS"] = str(options.pack)
    import_pack("fastface")
    from fastface.pipeline.film.film_analysis import analyze_film
    from fastface.pipeline.loading import load_face_analysis
    from fastface.utils.video.film import FilmFile
    from fastface.utils.video.selection import Selection

    app = load_face_analysis(
        model_pack=options.pack.name,
        backend=options.backend,
        device="cpu",
        det_size=options.det_size,
    )

    def progress(done: float, total: int) -> None:
        if kill_at is not None and done >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    found = analyze_film(app, FilmFile(film), Selection(), options.accuracy, on_progress=progress)
    tracks, digest = found.tracks, hashlib.sha256()
    for _, tensor in [*tracks.faces.tensors(), ("ids", tracks.ids)]:
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(repr((tracks.frames, tracks.times)).encode())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.send(
        {
            "faces": len(tracks.faces),
            "seconds": found.seconds,
            "kept": found.kept,
            "peak": peak,
            "digest": digest.hexdigest(),
        }
    )


@contextmanager
def repeated(film: Path, count: int) -> Iterator[Path]:
    """A film of so many frames, made by repeating another, no larger than `SMALL_WH`."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        once, many = Path(folder, "once.mp4"), Path(folder, "many.mp4")
        with av.open(str(film)) as source, av.open(str(once), "w") as target:
            stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate)
            stream.options = {"crf": "18", "preset": "fast", "bf": "0"}
            stream.pix_fmt = "yuv420p"
            width, height = source.streams.video[0].width, source.streams.video[0].height
            scale = min(1.0, SMALL_WH[0] / width, SMALL_WH[1] / height)
            stream.width, stream.height = (round(side * scale / 2) * 2 for side in (width, height))
            for frame in source.decode(video=0):
                small = frame.reformat(stream.width, stream.height, "yuv420p")
                small.pts = None
                target.mux(stream.encode(small))
            target.mux(stream.encode(None))
        with av.open(str(once)) as source:
            template = source.streams.video[0]
            packets = [packet for packet in source.demux(template) if packet.dts is not None]
            times = sorted(packet.pts for packet in packets)
            period = times[-1] - times[0] + times[1] - times[0]
            stored = [(bytes(each), each.pts, each.dts, each.is_keyframe) for each in packets]
            with av.open(str(many), "w") as target:
                stream = target.add_stream_from_template(template)
                for number in range(count):
                    data, pts, dts, is_key = stored[number % len(stored)]
                    packet = av.Packet(data)
                    shift = number // len(stored) * period
                    packet.pts, packet.dts, packet.time_base = (
                        pts + shift,
                        dts + shift,
                        template.time_base,
                    )
                    packet.is_keyframe, packet.stream = is_key, stream
                    target.mux(packet)
        yield many


if __name__ == "__main__":
    sys.exit(main())
