"""Runs a target's cases in a process of their own, and goes on where one takes it along."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.outcomes import BARE, CRASH, HANG, Outcome
from tests.fuzz.worker import Job

ROOT = Path(__file__).resolve().parents[2]
#: Longer than any case takes that goes on.
CASE_SECONDS = 60.0
#: Longer than libraries take to be imported, on a slow machine with a cold disk.
START_SECONDS = 300.0
#: What a process may take to end once its cases are done.
EXIT_SECONDS = 60.0
_START = "import sys; sys.path.insert(0, sys.argv[1]); from tests.fuzz import worker; "
_START += "worker.main(sys.argv[2])"


@dataclass
class Results:
    """What came of a target's cases.

    Attributes:
        target: Its name.
        counts: For each kind of `Outcome` how many there were.
        faults: For each distinct one its first outcome: of one class, from one place.
        times: How often each of `faults` was seen.
        seconds: What the cases took, without the start of processes.
    """

    target: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)
    times: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Counts an outcome."""
        self.counts[outcome.kind] += 1
        if outcome.kind in (BARE, CRASH, HANG):
            key = (outcome.kind, outcome.error, outcome.place)
            self.faults.setdefault(key, outcome)
            self.times[key] += 1


def supervise(
    module: str,
    seed: int,
    seconds: float | None = None,
    cases: int | None = None,
    first: int = 0,
    case_seconds: float = CASE_SECONDS,
) -> Results:
    """Runs cases of a target, each process as long as it lives.

    Args:
        module: Where the target is, such as `tests.fuzz.targets.nodes`.
        seed: Of the run; with a case's number it decides everything about the case.
        seconds: For how long cases are begun; None for any time.
        cases: How many at most; None for any number.
        first: Number of the first.
        case_seconds: A case that takes longer hangs.

    Returns:
        How they ended. A target that can't be made, and a process that ends badly after its last
        case, are crashes of the case that was to come.
    """
    results = Results(module.rpartition(".")[2])
    number, end = first, None if cases is None else first + cases
    while (end is None or number < end) and (seconds is None or results.seconds < seconds):
        job = Job(
            module=module,
            folder="",
            seed=seed,
            first=number,
            cases=None if end is None else end - number,
            seconds=None if seconds is None else seconds - results.seconds,
            case_seconds=case_seconds,
        )
        following = _run_worker(job, results)
        if following is None:
            break
        number = following
    return results


def _run_worker(job: Job, results: Results) -> int | None:
    """Runs one process until it ends; gives the number of the case to go on with, if any."""
    with tempfile.TemporaryDirectory(prefix="fastface-fuzz-", ignore_cleanup_errors=True) as home:
        worker = _Worker(job, Path(home))
        try:
            return _follow(worker, job, results)
        finally:
            worker.kill()


def _follow(worker: _Worker, job: Job, results: Results) -> int | None:
    number, is_ready, began = job.first, False, time.monotonic()

    def fault(kind: str, error: str, text: str = "") -> None:
        text = text or worker.written()
        results.add(Outcome(results.target, number, kind, error, _place(text), text))

    while True:
        try:
            event = worker.next_event(job.case_seconds + 5 if is_ready else START_SECONDS)
        except queue.Empty:
            fault(HANG, "took too long" if is_ready else "does not start")
            results.seconds += time.monotonic() - began
            return number + 1 if is_ready else None
        if event is None:
            fault(CRASH, worker.how_it_ended())
            results.seconds += time.monotonic() - began
            return number + 1 if is_ready else None
        if "failed" in event:
            fault(CRASH, "does not start", event["failed"])
            return None
        if "finished" in event:
            results.seconds += time.monotonic() - began
            status = worker.how_it_ended()
            if status != "status 0":
                fault(CRASH, f"{status} at exit")
            return None
        if "ready" in event:
            is_ready, began = True, time.monotonic()
        elif "begun" in event:
            number = event["begun"]
        else:
            results.add(Outcome(**event["ended"]))
            number += 1


class _Worker:
    """A running worker."""

    def __init__(self, job: Job, home: Path) -> None:
        (home / "target").mkdir()
        job = Job(**{**vars(job), "folder": str(home / "target")})
        self._errors = home / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", _START, str(ROOT), job.as_text()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=home / "target",
                env=_environment(home),
                # So that its own processes end with it, and Ctrl+C is ours alone.
                start_new_session=True,
            )
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._events.put(json.loads(line))
        self._events.put(None)

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        """What it says next; None once it says nothing more. Raises queue.Empty after `seconds`."""
        return self._events.get(timeout=seconds)

    def how_it_ended(self) -> str:
        """How the process ended, in words; it is given some time to."""
        try:
            status = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "does not end"
        if status < 0:
            return signal.Signals(-status).name
        return f"status {status}"

    def written(self) -> str:
        """The end of what it wrote to standard error, from the last fatal error on."""
        text = self._errors.read_bytes()[-1 << 16 :].decode("utf-8", "replace")
        for start in ("Fatal Python error", "Timeout (", "Traceback (most recent"):
            if (place := text.rfind(start)) >= 0:
                return text[place:]
        return text[-2000:]

    def kill(self) -> None:
        """Ends it and all that it started, at once."""
        if os.name == "nt":
            self._process.kill()
        else:
            # Refused where it has ended and nothing is left of it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Variables under which nothing of the user is read or written: caches, models, settings."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("FASTFACE_")
    }
    # Packages that were installed for the user alone are looked for in a home folder.
    variables["PYTHONUSERBASE"] = site.getuserbase()
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP"):
        folder = home / name.lower()
        folder.mkdir()
        variables[name] = str(folder)
    if data := os.environ.get("FASTFACE_TEST_DATA"):
        variables["FASTFACE_TEST_DATA"] = str(Path(data).resolve())
    return {**variables, "FASTFACE_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _place(text: str) -> str:
    """The deepest line of this pack in a traceback, either way around, `path:line`."""
    found = re.findall(r'File "([^"]+)", line (\d+)', text)
    if text.startswith("Traceback"):
        found.reverse()
    own = [
        f"{Path(name).relative_to(ROOT).as_posix()}:{line}"
        for name, line in found
        if Path(name).is_relative_to(ROOT)
    ]
    inner = [place for place in own if not place.startswith("tests/")]
    return (inner or own or [""])[0]
