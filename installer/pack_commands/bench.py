"""`python install.py bench`: measures this pack against everyone else who is installed."""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...benchmark.benchmark_inputs import SOURCES
from ...benchmark.chart import draw_chart
from ...benchmark.document import results_document
from ...benchmark.history import history_file, remember
from ...benchmark.plan import Options
from ...benchmark.presets import PRESETS, Run, preset
from ...benchmark.quality import examine
from ...benchmark.quality_report import quality_markdown, worst_pictures
from ...benchmark.result import BenchmarkResult
from ...benchmark.result_text import as_text, jobs_text
from ...benchmark.runner import run_benchmark
from ...benchmark.targets import targets_table
from ...benchmark.weights import choose_weights
from ...pipeline.choices import AUTO
from ...utils.accuracy_report import UNFIT
from ...utils.errors import FastFaceError, InvalidInput
from ...utils.files import write_whole
from ...utils.pictures import USE_OUTPUT, packaged_photo, read_picture, write_picture
from ...utils.text import readable

Value = TypeVar("Value")

_log = logging.getLogger("FastFace")
_OUTPUT = Path("bench_output")
_SIZE = re.compile(r"(\d+)x(\d+)")


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark.

    Returns:
        0; 1 when it could not be done, or with --check when an answer of ours is unfit or
        something has become slower.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.schema:
        sys.stdout.write(json.dumps(BenchmarkResult.model_json_schema(), indent=2) + "\n")
        return 0
    try:
        files = [Path(photo) for photo in options.photos or [packaged_photo()]]
        photos = {file.name: read_picture(file) for file in files}
        if options.combine:
            return _combine(options)
        if options.quality:
            return _examine(options, photos)
        return _run(options, list(photos.values()), _command(arguments))
    except FastFaceError as error:
        _log.error("%s", error)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python install.py bench",
        description=__doc__,
        epilog=f"Jobs: {jobs_text()}. "
        f"Presets: {'; '.join(f'{name}: {what}' for name, what in PRESETS.items())}.",
    )
    defaults = Options()
    parser.add_argument("photos", nargs="*", help="pictures; by default insightface's own")
    parser.add_argument("--preset", choices=PRESETS, help="measure what belongs together")
    parser.add_argument(
        "--pack",
        default=AUTO,
        help="name or folder of a model pack, facenet-mtcnn included, or random:antelopev2, "
        "random:buffalo_l, random:buffalo_s: real layer sizes with random weights",
    )
    names, sizes = comma_separated(str), comma_separated(_size_hw)
    parser.add_argument("--job", type=names, default=defaults.jobs, metavar="JOB,...")
    parser.add_argument(
        "--contestant", type=names, default=(), metavar="NAME,...", help="by default everyone"
    )
    parser.add_argument("--device", type=names, default=defaults.devices, metavar="DEVICE,...")
    parser.add_argument(
        "--precision", type=names, default=defaults.precisions, metavar="PRECISION,..."
    )
    parser.add_argument(
        "--batch", type=comma_separated(int), default=defaults.batches, metavar="IMAGES,..."
    )
    parser.add_argument("--size", type=sizes, default=(None,), metavar="WxH,...")
    parser.add_argument("--det-size", type=int, default=defaults.det_size)
    parser.add_argument("--rounds", type=int, help=f"by default {defaults.rounds}")
    parser.add_argument("--source", choices=SOURCES, default=defaults.source)
    parser.add_argument("--variants", action="store_true", help="also the bare network, and again")
    parser.add_argument(
        "--peer",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a Python file with further contestants; may be given several times",
    )
    parser.add_argument(
        "--combine", nargs="+", type=Path, metavar="JSON", help="one document of earlier results"
    )
    parser.add_argument("--output", type=Path, default=_OUTPUT, help="folder for the results")
    parser.add_argument("--history", type=Path, help="file of earlier runs, to compare with")
    parser.add_argument(
        "--quality", action="store_true", help="compare answers on all photos instead of times"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of results")
    parser.add_argument("--check", action="store_true", help="exit with 1 for wrong or slower")
    return parser


def comma_separated(kind: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Reads an option's values separated by commas: none of them is taken for a photo, then."""

    def values(text: str) -> tuple[Value, ...]:
        return tuple(kind(part.strip()) for part in text.split(","))

    # argparse names the function where a value is wrong.
    values.__name__ = getattr(kind, "__name__", "value")
    return values


def _size_hw(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected width x height as in 1920x1080")
    return int(match[2]), int(match[1])


def _command(arguments: Sequence[str]) -> str:
    """The command as anybody could type it: a folder's or file's name instead of its place."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    return shlex.join(["python", "install.py", "bench", *words])


def _runs(options: argparse.Namespace) -> list[Run]:
    if options.preset:
        return preset(options.preset, options.pack, options.rounds)
    chosen = Options(
        jobs=options.job,
        contestants=options.contestant,
        devices=options.device,
        precisions=options.precision,
        batches=options.batch,
        image_sizes_hw=options.size,
        det_size=options.det_size,
        rounds=options.rounds if options.rounds is not None else Options().rounds,
        source=options.source,
        variants=options.variants,
        contestant_files=tuple(options.peer),
    )
    return [Run(options.pack, chosen)]


def _run(options: argparse.Namespace, photos: Sequence[np.ndarray], command: str) -> int:
    results = []
    history = options.history or history_file()
    for number, run in enumerate(_runs(options), start=1):
        result = run_benchmark(
            run.options,
            photos,
            choose_weights(run.weights),
            on_progress=_Meter().show,
            command=command,
        )
        remember(result, history)
        results.append(result)
        _log.info("%s\n", as_text(result))
        _write(options.output, _name(number, result), result)
    _log.info("%s", targets_table(results))
    _write_document(options.output, results)
    return int(options.check and any(map(_is_wrong, results)))


def _combine(options: argparse.Namespace) -> int:
    results = []
    for number, file in enumerate(options.combine, start=1):
        try:
            results.append(json.loads(file.read_bytes()))
            BenchmarkResult.model_validate(results[-1])
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInput(
                f"{file} can't be read as a result: {reason}; name a .json that bench wrote"
            ) from error
        _write(options.output, _name(number, results[-1]), results[-1])
    _write_document(options.output, results)
    return 0


def _name(number: int, result: dict[str, Any]) -> str:
    return f"{number}-{result['weights']['name']}"


def _write_document(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    pictures = [f"{_name(number, result)}.png" for number, result in enumerate(results, start=1)]
    _write_text(folder / "RESULTS.md", results_document(results, pictures))
    _log.info("\nresults: %s", (folder / "RESULTS.md").resolve())


def _examine(options: argparse.Namespace, photos: dict[str, np.ndarray]) -> int:
    (run,) = _runs(options)
    report = examine(run.options, photos, choose_weights(run.weights), on_progress=_Meter().show)
    names = []
    for name, picture in worst_pictures(report, photos):
        write_picture(options.output / name, picture)
        names.append(name)
    text = quality_markdown(report, names)
    _write_text(options.output / "quality.md", text)
    _log.info("%s\nresults: %s", text, options.output.resolve())
    unfit = any(row["ours"] and row.get("verdict") == UNFIT for row in report["rows"])
    return int(options.check and unfit)


def _is_wrong(result: dict[str, Any]) -> bool:
    unfit = any(
        row["ours"] and row["parity"] and row["parity"]["verdict"] == UNFIT
        for case in result["cases"]
        for row in case["rows"]
    )
    comparison = result["comparison"]
    return unfit or bool(comparison and comparison["regressions"])


def _write(folder: Path, name: str, result: dict[str, Any]) -> None:
    _write_text(folder / f"{name}.json", json.dumps(result, indent=1) + "\n")
    write_picture(folder / f"{name}.png", draw_chart(result))


def _write_text(file: Path, text: str) -> None:
    write_whole(file, readable(text).encode(), USE_OUTPUT)


class _Meter:
    """Says how far it is, at most every ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def show(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            _log.info("%d of %d", done, total)
