"""Whether a process ends well whenever it ends: no abort while models are loaded, used or released.

    python benchmarks/exits.py --pack FOLDER [--count 200] [--backend onnxruntime torch]
        [--when preload idle work] [--fresh] [--seed 0]

FOLDER is a pack's folder of ONNX files. Each process does what its `--when` says and ends, by
coming to the end of its main thread, at a random moment of that:

    preload  while packs are opened that FASTFACE_PRELOAD names
    idle     while idle models are released in the background
    work     while another thread, as ComfyUI's for prompts, analyses images

By default processes are forked from one that has imported torch, which spares five seconds each;
`--fresh` starts each from nothing. Ends with status 1 when one did not end well.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inputs import pack_folder

ROOT = Path(__file__).resolve().parent.parent
#: Idle models go after so many seconds, and processes end within twice that.
IDLE_SECONDS = 0.1
#: A process that has not ended by then is not ending at all.
LONGEST_SECONDS = 120.0
WHEN = ("preload", "idle", "work")
#: Instead of seconds: until the pack is loaded.
WHOLE = float("inf")
MARK = "ending after "


@dataclass
class Ends:
    """How the processes of one kind ended.

    Attributes:
        seconds: What each took from its last line to its end.
        bad: Status and last words of those that did not end well.
    """

    seconds: list[float] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)

    @property
    def aborts(self) -> int:
        return sum(status == -signal.SIGABRT for status, _ in self.bad)


def main(arguments: Sequence[str] | None = None) -> int:
    if sys.argv[1:2] == ["--inside"]:
        when, backend, seconds = sys.argv[2:]
        prepare()
        come_to_an_end(when, backend, float(seconds))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", type=pack_folder, required=True)
    parser.add_argument("--count", type=int, default=200, help="processes in all")
    parser.add_argument("--backend", nargs="+", default=["onnxruntime", "torch"])
    parser.add_argument("--when", nargs="+", choices=WHEN, default=list(WHEN))
    parser.add_argument("--fresh", action="store_true", help="nothing is forked")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    set_environment(options.pack)
    kinds = list(itertools.product(options.when, options.backend))
    ends = {kind: Ends() for kind in kinds}
    loading: dict[str, float] = {}
    chance = random.Random(options.seed)
    if not options.fresh:
        prepare()
    # The first of each backend writes graphs that the later ones find.
    for backend in options.backend * 2:
        loading[backend] = loading_seconds(backend, options.fresh)
    for number in range(options.count):
        when, backend = kinds[number % len(kinds)]
        most = 2 * IDLE_SECONDS if when == "idle" else loading[backend]
        status, seconds, said = one_process(when, backend, chance.uniform(0, most), options.fresh)
        ends[when, backend].seconds.append(seconds)
        if status:
            ends[when, backend].bad.append((status, said))
    print(table(ends))
    bad = [each for kind in ends.values() for each in kind.bad]
    for status, said in bad[:5]:
        print(f"\nstatus {status}:\n{said[-1500:]}", file=sys.stderr)
    return 1 if bad else 0


def set_environment(pack: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FASTFACE_")]:
        del os.environ[name]
    os.environ["FASTFACE_MODELS"] = str(pack)
    # numpy's threads would be lost in a fork.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def prepare() -> None:
    """Imports what all processes need, and starts no thread."""
    sys.path.insert(0, str(ROOT))
    from install import import_pack

    import_pack("fastface")
    from fastface.pipeline import lifecycle, loading  # noqa: F401


def one_process(when: str, backend: str, seconds: float, fresh: bool) -> tuple[int, float, str]:
    """Status, seconds from the beginning of its end, and what it wrote to stderr."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.monotonic()
        if fresh:
            command = [sys.executable, __file__, "--inside", when, backend, str(seconds)]
            process = subprocess.Popen(command, stderr=said)
            pid = process.pid
        else:
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 2)
                come_to_an_end(when, backend, seconds)
                # Not `os._exit`: the interpreter is to be taken down as at the end of any program.
                raise SystemExit(0)
        status = wait_for(pid)
        took = time.monotonic() - began
        said.seek(0)
        text = said.read()
    return status, took - (seconds_marked(text) or 0.0), text


def seconds_marked(text: str) -> float | None:
    """When a process began to end, in seconds from its beginning; None if it did not get there."""
    marks = [line for line in text.splitlines() if line.startswith(MARK)]
    return float(marks[0].removeprefix(MARK)) if marks else None


def loading_seconds(backend: str, fresh: bool) -> float:
    """What opening the pack takes, beginning with the import of the engine."""
    status, _, text = one_process("preload", backend, WHOLE, fresh)
    seconds = seconds_marked(text)
    if status or seconds is None or "not preloaded" in text:
        sys.exit(f"{backend} did not load:\n{text}")
    return seconds


def wait_for(pid: int) -> int:
    """Exit status of a child, negative for a signal; one that hangs is killed."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def come_to_an_end(when: str, backend: str, seconds: float) -> None:
    """Does what there is to do for so long, and leaves it to its threads."""
    began = time.monotonic()
    os.environ["FASTFACE_BACKENDS"] = backend
    os.environ["FASTFACE_PREFER_GPU"] = "0"
    name = Path(os.environ["FASTFACE_MODELS"]).name
    from fastface.pipeline import lifecycle

    if when == "preload":
        os.environ["FASTFACE_PRELOAD"] = name
        thread = lifecycle.preload_if_wanted()
        if thread is not None and seconds == WHOLE:
            thread.join()
    elif when == "idle":
        os.environ["FASTFACE_OFFLOAD_TIMEOUT"] = str(IDLE_SECONDS)
        lifecycle.preload(name)
    else:
        threading.Thread(target=analyse_for_ever, args=(name,), daemon=True).start()
    if seconds != WHOLE:
        time.sleep(seconds)
    print(f"{MARK}{time.monotonic() - began}", file=sys.stderr, flush=True)


def analyse_for_ever(name: str) -> None:
    import numpy as np

    from fastface.pipeline.loading import load_face_analysis

    app = load_face_analysis(model_pack=name)
    for number in itertools.count():
        image = np.random.default_rng(number).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        app.get(image)


def table(ends: dict[tuple[str, str], Ends]) -> str:
    lines = [
        "| while | backend | processes | aborts | other bad ends | longest end, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (when, backend), kind in ends.items():
        other = len(kind.bad) - kind.aborts
        longest = f"{max(kind.seconds):.2f}" if kind.seconds else ""
        lines.append(
            f"| {when} | {backend} | {len(kind.seconds)} | {kind.aborts} | {other} | {longest} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
