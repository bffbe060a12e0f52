"""A process that does a benchmark's work and answers through a pipe; one that ends is told of."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


class WorkerEnded(SystemExit):
    """A worker ended without an answer. Not caught, it ends the program with status 1."""

    def __init__(self, name: str, status: int | None) -> None:
        super().__init__(f"{name}: its process ended with status {status} and gave no answer")
        #: As `multiprocessing.Process.exitcode`: negative for a signal.
        self.status = status


class Worker:
    """A process with nothing in it but its target; use it in a `with`, which ends it."""

    def __init__(self, name: str, target: Callable[..., object], *arguments: Any) -> None:
        """
        Args:
            name: For messages.
            target: Runs in the process, with `arguments` and its end of the pipe
                (`multiprocessing.connection.Connection`).
        """
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
        self._process.start()
        # As long as this process holds that end too, `recv` waits for one that has ended.
        theirs.close()

    def ask(self) -> Any:
        """Has a target that waits for it do its work once; what it answers.

        Raises:
            WorkerEnded: The process ended instead.
        """
        try:
            self._connection.send(None)
        except OSError:
            raise self._ended() from None
        return self.answer()

    def answer(self) -> Any:
        """Waits for what the target sends.

        Raises:
            WorkerEnded: The process ended instead.
        """
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None

    def _ended(self) -> WorkerEnded:
        self._process.join()
        return WorkerEnded(self._name, self._process.exitcode)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()
