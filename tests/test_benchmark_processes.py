"""Benchmarks refuse what isn't there at once, and tell of processes that end without an answer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
#: `sys.exit` is given the process's end of the pipe, prints it, and ends with status 1.
_WORKER = """
import operator, sys
from worker import Worker, WorkerEnded

if __name__ == "__main__":
    with Worker("five", operator.methodcaller("send", 5)) as five:
        print(five.answer())
    for ask in (Worker.answer, Worker.ask):
        with Worker("nobody", sys.exit) as nobody:
            try:
                ask(nobody)
            except WorkerEnded as ended:
                print(ended.status, ended)
    Worker("nobody", sys.exit).answer()
"""


def test_a_worker_that_ends_is_told_of() -> None:
    command = [sys.executable, "-c", _WORKER]
    done = subprocess.run(
        command, cwd=_BENCHMARKS, capture_output=True, text=True, timeout=120, check=False
    )
    said = "nobody: its process ended with status 1 and gave no answer"
    assert done.stdout.splitlines() == ["5", f"1 {said}", f"1 {said}"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == said


def test_a_contestant_that_ends_ends_the_benchmark(test_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    pytest.importorskip("insightface")
    film = tmp_path / "no film.mp4"
    film.write_bytes(b"nothing")
    status, said = run("film", "speed", "--pack", str(test_data / "models"), "--film", str(film))
    assert status == 1
    assert re.fullmatch(r"(exact|fast): its process ended with status 1 .*", said)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("film speed --pack {pack} --film missing", "argument --film: 'missing' is no file"),
        ("film memory --pack {empty} --film {photo}", "argument --pack: .* holds no .onnx files"),
        ("album speed --pack missing --photos .", "argument --pack: 'missing' is no folder"),
        ("album folder --pack {pack} --photos missing", "argument --photos: .* is no folder"),
        ("soak --pack {pack} --photos {photo} missing", "argument --photos: .* is no file"),
        ("exits --pack missing", "argument --pack: 'missing' is no folder"),
    ],
)
def test_what_is_missing_is_refused(
    command: str, says: str, test_data: Path, tmp_path: Path
) -> None:
    photo = test_data / "images" / "Stallone.jpg"
    paths = {"pack": test_data / "models", "photo": photo, "empty": tmp_path}
    status, said = run(*(word.format(**paths) for word in command.split()))
    assert status == 2
    assert re.search(says, said)


def run(name: str, *arguments: str) -> tuple[int, str]:
    """Status and last line of a benchmark."""
    done = subprocess.run(
        [sys.executable, str(_BENCHMARKS / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()[-1]
