"""What surrounds a run of a network on any engine: checked inputs, errors explained, its end.

A network that takes seconds gives nobody a word meanwhile. An engine that can be told to stop its
run is told so by a thread that asks, while such runs go on, whether whoever waits for them still
wants them. Where the system has no room for that thread, they run to their end. At the end of the
process it asks once more, and whoever asks for the process's end there, as ComfyUI's listeners do,
ends them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from ...utils.errors import (
    BackendUnavailable,
    FastFaceError,
    InvalidInput,
    ModelError,
    OutOfMemory,
)
from ...utils.free_memory import is_out_of_memory
from ...utils.progress import checkpoint
from ...utils.shutdown import is_ending, start_thread
from ..placement import RunsOn

Result = TypeVar("Result")

#: How often whoever waits is asked, and how long the thread waits for another run.
_ASK_SECONDS = 0.1
_IDLE_SECONDS = 10.0

_LESS_MEMORY = (
    "use fewer images at a time or a smaller det_size, or free memory by unloading models"
)


def check_input(
    x: Tensor, device: torch.device, shape: Sequence[int | None], file_name: str
) -> None:
    """Refuses what a graph can't be given.

    Args:
        x: The input.
        device: Where it has to be.
        shape: What it has to be, None where any size will do.
        file_name: Names the graph in errors.

    Raises:
        InvalidInput: It is empty, elsewhere, or not of the graph's shape.
    """
    if x.device != device:
        raise InvalidInput(
            f"{file_name}: got a tensor on {x.device}, expected it on {device}; "
            "move it with x.to(session.device)"
        )
    fits = len(shape) == x.ndim and all(
        want is None or want == got for want, got in zip(shape, x.shape, strict=True)
    )
    if not fits or x.numel() == 0:
        expected = ["any" if size is None else size for size in shape]
        raise InvalidInput(
            f"{file_name}: got a tensor of shape {tuple(x.shape)}, expected {expected}"
        )


def explained(
    error: Exception, x: Tensor, file_name: str, runs_on: RunsOn, on_cpu: bool
) -> FastFaceError:
    """The error to raise for what a runtime raised in a run.

    Args:
        error: What it raised.
        x: The input.
        file_name: Names the graph.
        runs_on: What ran it.
        on_cpu: Whether that is the CPU, where only the file can be to blame.
    """
    where = f"{file_name}: {runs_on.provider} failed for {tuple(x.shape)}: {error}"
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}; it ran out of memory: {_LESS_MEMORY}")
    if not on_cpu:
        return BackendUnavailable(
            f"{where}; choose device cpu, or reload the model once the device works again"
        )
    return ModelError(f"{where}; the file may be damaged: delete it and download the pack again")


@contextmanager
def torch_memory_errors(x: Tensor, runs_on: RunsOn) -> Iterator[None]:
    """Makes `OutOfMemory` of what torch raises inside when it can't allocate, on any device.

    Args:
        x: The input of the run.
        runs_on: What runs it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"{runs_on} ran out of memory for input {tuple(x.shape)}: {_LESS_MEMORY}"
        ) from error


class _Run:
    """A run that may be ended, and what whoever waits for it raised."""

    def __init__(self, ask: Callable[[], None], end: Callable[[], None]) -> None:
        self._ask = ask
        self._end = end
        self._over = False
        self._lock = threading.Lock()
        self.raised: BaseException | None = None

    def ask(self) -> None:
        with self._lock:
            if self._over or self.raised is not None:
                return
            try:
                self._ask()
            except BaseException as error:  # noqa: BLE001  raised again in the thread that runs
                self.raised = error
                self._end()

    def finish(self) -> None:
        """After this nothing is asked and nothing ended: the engine may be at another run."""
        with self._lock:
            self._over = True


class Endings:
    """Runs that may be ended, and the one thread that asks for all of them."""

    def __init__(self) -> None:
        self._runs: set[_Run] = set()
        self._thread: threading.Thread | None = None
        self._resting = False
        self._changed = threading.Condition()

    def run(self, run: Callable[[], Result], end: Callable[[], None]) -> Result:
        """Runs something that can be ended from another thread.

        Args:
            run: The work; it may raise whatever it likes once it was ended.
            end: Makes `run` return soon; called from another thread, at most once, and never when
                `run` has returned.

        Returns:
            What `run` gives.

        Raises:
            BaseException: What whoever listens to this thread's work raised; see `heard_by`.
        """
        ask = checkpoint()
        if ask is None:
            return run()
        entry = _Run(ask, end)
        self._add(entry)
        try:
            result = run()
        except Exception:
            if entry.raised is None:
                raise
            result = None
        finally:
            entry.finish()
            with self._changed:
                self._runs.discard(entry)
        if entry.raised is not None:
            raise entry.raised
        return result  # pyright: ignore[reportReturnType]

    def _add(self, entry: _Run) -> None:
        with self._changed:
            self._runs.add(entry)
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads
                self._thread = start_thread(self._watch, "FastFace endings", self._look_up)
            elif self._resting:  # else it looks soon, and short runs must not wake it each time
                self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if not self._runs and not is_ending():
                    self._resting = True
                    self._changed.wait(_IDLE_SECONDS)
                    self._resting = False
                if not self._runs:
                    self._thread = None
                    return
            time.sleep(_ASK_SECONDS)
            with self._changed:
                runs = list(self._runs)
            for entry in runs:
                entry.ask()

    def _look_up(self) -> None:
        with self._changed:
            self._changed.notify_all()


endings = Endings()
