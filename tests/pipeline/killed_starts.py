"""Kills first starts at random moments, and looks at what the next start finds.

    python -m tests.pipeline.killed_starts --kills 100

Each start makes everything that the graph cache keeps of a small pack, for the backends onnxruntime
and torch. Half of the kills come at a random time, half at a random one of its accesses to files;
every second start mends a cache of which all files are damaged. Needs a system that can fork.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from install import import_pack

    import_pack("fastface")

import onnxruntime  # noqa: F401  # once here, and not in every start
import torch

from fastface.backends.onnx_graphs import graph_cache
from fastface.backends.onnx_graphs.cache_entries import read_entry
from fastface.backends.registry import all_backends
from fastface.utils import host
from fastface.utils.checksummed_file import DamagedFile, read_header
from fastface.utils.download.disk import file_sha256
from fastface.utils.packs.read import read_pack
from tests.backends.small_pack import answers, are_same, make_small_pack

#: What a process does to files, as Python's audit events call it; fsync has none.
_STEPS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.utime", "os.truncate"})
_LONGEST_START_SECONDS = 300.0


@dataclass
class Found:
    """What was found in all."""

    kills: int = 0
    ended_before: int = 0
    corrupt: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [f"{self.kills} starts killed ({self.ended_before} had ended just before)"]
        for name in ("corrupt", "wrong", "left_behind"):
            several = getattr(self, name)
            words.append(f"{len(several)} {name.replace('_', ' ')}")
            words += several
        return "; ".join(words)


class Starts:
    """Starts of processes on one pack, each a fork of this one, which runs no network itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pack = folder / "pack"
        self.whole = folder / "whole"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        _forked(lambda: make_small_pack(self.pack) and None)
        begun = time.perf_counter()
        self.steps: int = self.start(self.whole, save=True)["steps"]
        self.seconds = time.perf_counter() - begun
        self.names = _names(self.whole)

    def start(self, cache: Path, save: bool = False, kill_at: int | None = None) -> Any:
        """What a start on a cache finds; None when it was killed at a step."""
        return _forked(lambda: self._start(cache, save, kill_at))

    def killed(self, cache: Path, seconds: float) -> bool:
        """Kills a start after a time; whether it had not ended before."""
        child = _fork(lambda: self._start(cache, False, None))
        time.sleep(seconds)
        os.kill(child.pid, signal.SIGKILL)
        return child.result() is None

    def damaged(self, cache: Path) -> None:
        """A copy of the whole cache with a bit flipped in every file."""
        shutil.copytree(self.whole, cache)
        for path in (cache / "graphs").glob("*-v*"):
            data = bytearray(path.read_bytes())
            data[-3] ^= 4
            path.write_bytes(data)

    def left_behind(self, cache: Path) -> set[str]:
        """What the next start left, or left out: files of the cache, and temporary ones."""
        return {path.name for path in self.temporary.iterdir()} | _names(cache) ^ self.names

    def _start(self, cache: Path, save: bool, kill_at: int | None) -> dict[str, Any]:
        steps = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal steps
            if event not in _STEPS or not str(arguments[0]).startswith(str(self.folder)):
                return
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        host.cache_folder = lambda: cache
        tempfile.tempdir = str(self.temporary)
        said: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: said.append(record.getMessage())
        logging.getLogger("FastFace").addHandler(handler)
        pack = read_pack("small", self.pack)
        sys.addaudithook(count)
        fsync = os.fsync
        os.fsync = lambda handle: (count("open", (self.folder,)), fsync(handle))[1]
        got = [each for name in ("onnxruntime", "torch") for each in answers(pack, name)]
        expected = self.folder / "expected.pt"
        if save:
            torch.save(got, expected)
        return {"steps": steps, "said": said, "right": are_same(got, torch.load(expected))}


def kill_starts(kills: int, seed: int, report: Callable[[str], object]) -> Found:
    """Kills some first starts and lets the next one go on; see this module."""
    where, found = random.Random(seed), Found()
    all_backends()  # imported here once
    with tempfile.TemporaryDirectory(prefix="killed-starts-") as name:
        starts = Starts(Path(name))
        report(f"a start takes {starts.seconds:.1f} s and {starts.steps} accesses to files")
        number = 0
        while found.kills < kills:
            number += 1
            cache = starts.folder / f"cache{number}"
            heals = bool(number // 2 % 2)
            if heals:
                starts.damaged(cache)
            if number % 2:
                seconds = where.uniform(0, starts.seconds)
                moment, was_killed = f"{seconds:.3f} s", starts.killed(cache, seconds)
            else:
                step = where.randrange(1, starts.steps + 1)
                moment, was_killed = f"step {step}", starts.start(cache, kill_at=step) is None
            found.kills += was_killed
            found.ended_before += not was_killed
            moment += " of healing" if heals else ""
            if not heals:
                found.corrupt += [f"{moment}: {text}" for text in _corrupt(cache)]
            after = starts.start(cache)
            if after is None or not after["right"]:
                found.wrong.append(moment)
            elif not heals:
                damage = [line for line in after["said"] if "made again, of" in line]
                found.corrupt += [f"{moment}: {line}" for line in damage]
            found.corrupt += [f"after {moment}: {text}" for text in _corrupt(cache)]
            found.left_behind += [f"{moment}: {left}" for left in starts.left_behind(cache)]
            shutil.rmtree(cache)
            report(f"{found.kills} of {kills}: {moment}")
    return found


def _names(cache: Path) -> set[str]:
    folder = cache / "graphs"
    return {path.name for path in folder.iterdir()}


def _corrupt(cache: Path) -> list[str]:
    """What is not what was written, among the entries of a cache."""
    damaged = []
    for path in (cache / "graphs").glob("*.entry"):
        try:
            found = read_entry(path.parent, read_header(path)["key"])
            assert found is not None
            entry, checksums = found
            damaged += [
                str(file)
                for part, file in entry.files.items()
                if not file.is_file() or file_sha256(file) != checksums[part]
            ]
        except DamagedFile as error:
            damaged.append(str(error))
    return damaged


@dataclass
class _Child:
    pid: int
    pipe: int

    def result(self) -> Any:
        """What it gave; None when it was killed."""
        with os.fdopen(self.pipe, "rb") as pipe:
            text = pipe.read()
        os.waitpid(self.pid, 0)
        return json.loads(text) if text else None


def _fork(work: Callable[[], Any]) -> _Child:
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return _Child(pid, read)
    try:
        signal.alarm(int(_LONGEST_START_SECONDS))
        graph_cache._caches.clear()
        os.write(write, json.dumps(work()).encode())
    finally:
        # Nothing of what the parent has opened is the child's to close.
        if sys.exc_info()[0]:
            traceback.print_exc()
        os._exit(0)


def _forked(work: Callable[[], Any]) -> Any:
    return _fork(work).result()


def _report(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="Kills first starts at random moments.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = kill_starts(arguments.kills, arguments.seed, _report)
    _report(found)
    return bool(found.corrupt or found.wrong or found.left_behind)


if __name__ == "__main__":
    sys.exit(main())
