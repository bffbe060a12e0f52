"""`Worker`: a contestant's process, seen from the one that asks."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import psutil

from ..pipeline.insightface_compat.replacement import VARIABLE
from ..utils.errors import FastFaceError

_PACK_FOLDER = Path(__file__).resolve().parent.parent
#: torch is there before: ComfyUI has it anyway, and what the pack adds is what counts.
_START = (
    "import sys, time, torch; sys.path.insert(0, sys.argv[1]); from install import import_pack; "
    "begin = time.perf_counter(); import_pack('fastface'); seconds = time.perf_counter() - begin; "
    "from fastface.benchmark.worker import main; main(seconds)"
)
#: ComfyUI's portable version runs without the user's own packages; so must its contestants.
_FLAGS = ["-s"] if sys.flags.no_user_site else []
_LOOK_UP_SECONDS = 0.1
_PARTING_SECONDS = 10
_SHOWN_CHARACTERS = 600


class ContestantFailed(FastFaceError):
    """A contestant could not do what it was asked; the others go on."""


class Worker:
    """A process with nothing in it but one contestant; use it in a `with`, which ends it.

    insightface's threads go on spinning after a run, allocators keep what they took, and one
    library's setting of threads is another's: in one process neighbours would pay for each other.
    """

    def __init__(self, while_waiting: Callable[[], None]) -> None:
        """`while_waiting`: called ten times a second while it is waited for; may raise."""
        self._while_waiting = while_waiting
        #: What it used of the processors; known when it has ended.
        self.cpu_seconds = 0.0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        # Set, it would put our object in the place of the reference.
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        self._process = subprocess.Popen(
            [sys.executable, *_FLAGS, "-c", _START, str(_PACK_FOLDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=_PACK_FOLDER,
        )
        # Popen's pipes are None only for streams that were not asked to be pipes.
        self._to = cast(IO[bytes], self._process.stdin)
        self._from = cast(IO[bytes], self._process.stdout)
        self._questions: queue.Queue[bytes | None] = queue.Queue()
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        threading.Thread(target=self._speak, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _speak(self) -> None:
        """Hands questions over: a pipe takes images no sooner than the process has begun."""
        with suppress(OSError):  # it ended by itself, which `_listen` tells
            while (question := self._questions.get()) is not None:
                self._to.write(question)
                self._to.flush()
        with suppress(OSError):  # what was written last is lost with it
            self._to.close()

    def _listen(self) -> None:
        """Hands answers over: reading from a pipe can't be interrupted, a queue can be asked."""
        while True:
            try:
                self._answers.put(pickle.load(self._from))  # noqa: S301  our own process
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):
                self._answers.put(("ended", None))
                return

    def ask(self, method: str, **arguments: Any) -> Any:
        """Asks for a method of `WorkerServer` and waits for its answer.

        Raises:
            ContestantFailed: It failed, or the process ended.
        """
        self._questions.put(pickle.dumps((method, arguments)))
        while True:
            try:
                kind, value = self._answers.get(timeout=_LOOK_UP_SECONDS)
                break
            except queue.Empty:
                self._while_waiting()
        if kind == "done":
            return value
        raise ContestantFailed(self._how_it_ended() if kind == "ended" else value)

    def _how_it_ended(self) -> str:
        status = self._process.wait(_PARTING_SECONDS)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
        return f"its process ended with status {status}{f': {said}' if said else ''}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(psutil.Error):
            times = psutil.Process(self._process.pid).cpu_times()
            self.cpu_seconds = times.user + times.system
        try:
            self._questions.put(None)
            if kind is None:
                self._let_end()
        finally:
            self._process.kill()  # nothing, where it has ended
            self._process.wait()
            self._log.close()

    def _let_end(self) -> None:
        """Waits while it takes itself down, which frees and writes what others then find free."""
        give_up = time.monotonic() + _PARTING_SECONDS
        while time.monotonic() < give_up:
            try:
                self._process.wait(_LOOK_UP_SECONDS)
                return
            except subprocess.TimeoutExpired:
                self._while_waiting()
