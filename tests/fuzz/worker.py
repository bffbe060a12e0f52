"""The process that runs the cases of one target, and says how each ended.

It writes one JSON object a line to its standard output, which is all that the supervisor knows of
it: what a case is that takes the process with it, it can't say any more.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from install import import_pack

#: What a process may take for data: the libraries need half of it before anything is tried.
MOST_DATA_BYTES = 6 << 30


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Attributes:
        module: Where the target is, such as `tests.fuzz.targets.nodes`.
        folder: An empty one, for the target's files.
        seed: Of the run.
        first: Number of the first case.
        cases: How many at most; None for any number.
        seconds: For how long cases are begun; None for any time.
        case_seconds: After this long the stacks of all threads are written to standard error.
    """

    module: str
    folder: str
    seed: int
    first: int
    cases: int | None
    seconds: float | None
    case_seconds: float

    def as_text(self) -> str:
        return json.dumps(asdict(self))


def main(text: str) -> None:
    """Runs a job, `Job.as_text()` of it, and ends the process if its target can't be made."""
    job = Job(**json.loads(text))
    channel = _own_channel()
    try:
        import_pack("fastface")
        target = _target(job)
    except Exception:  # noqa: BLE001 - whatever it is, the supervisor is to hear of it
        _tell(channel, failed=traceback.format_exc())
        sys.exit(1)
    _limit_memory()
    _tell(channel, ready=True)
    try:
        _run_cases(target, job, channel)
    finally:
        target.close()
    _tell(channel, finished=True)


def _run_cases(target: Any, job: Job, channel: TextIO) -> None:
    from tests.fuzz.cases import run_case

    end = None if job.seconds is None else time.monotonic() + job.seconds
    number = job.first
    while job.cases is None or number < job.first + job.cases:
        if end is not None and time.monotonic() >= end:
            return
        _tell(channel, begun=number)
        faulthandler.dump_traceback_later(job.case_seconds)
        outcome = run_case(target, job.seed, number)
        faulthandler.cancel_dump_traceback_later()
        _tell(channel, ended=outcome.as_dict())
        number += 1


def _own_channel() -> TextIO:
    """Standard output, for us alone: what anybody else prints goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _tell(channel: TextIO, **event: object) -> None:
    # ASCII alone, whatever is in an error's text
    channel.write(json.dumps(event) + "\n")
    channel.flush()


def _target(job: Job) -> Any:
    from tests.fuzz.cases import Target

    module = importlib.import_module(job.module)
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Target)
        and value.__module__ == module.__name__
    )
    return found(Path(job.folder))


def _limit_memory() -> None:
    """Data alone: CUDA reserves addresses by the terabyte, which costs nothing."""
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = MOST_DATA_BYTES if hard == resource.RLIM_INFINITY else min(MOST_DATA_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
