"""One contestant in a process of its own: answers what it is asked, until it is told to stop."""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..utils.devices import Device
from ..utils.errors import FastFaceError
from .benchmark_inputs import BenchmarkInputs
from .implementation import Opened, Setting
from .implementations import all_implementations
from .process_memory import MemoryUse
from .roofline import matmul_rate
from .stage_shares import stage_shares
from .synthetic_models.packs import threshold_for
from .timing import calls_a_turn, synchronise, timed
from .transfers import bytes_to_host

#: Runs before the first turn: CUDA graphs are captured in the third run of a shape.
_WARM_UP_CALLS = {"cuda": 4}
_WARM_UP_CALLS_ELSEWHERE = 2


@dataclass(frozen=True)
class Started:
    """A contestant at work."""

    opened: Opened
    inputs: BenchmarkInputs
    call: Callable[[], Any]
    device: torch.device
    memory: MemoryUse
    calls_a_turn: int


class WorkerServer:
    """Does what the messages say."""

    def __init__(self, import_seconds: float) -> None:
        """`import_seconds`: what importing the pack took in this process."""
        self._import_seconds = import_seconds
        self._begun: Started | None = None

    @property
    def _started(self) -> Started:
        if self._begun is None:
            raise FastFaceError("no contestant is open; send start before anything else")
        return self._begun

    def start(
        self, contestant: str, files: list[str], setting: dict[str, Any], source: str, pixels: Any
    ) -> dict[str, Any]:
        """Opens a contestant, runs its job for the first time, and warms up."""
        everyone = all_implementations([Path(file) for file in files])
        device = _torch_device(setting["device"])
        if device.type == "cuda":
            torch.cuda.init()
            synchronise(device)
        memory = MemoryUse(device)
        begin = time.perf_counter()
        opened = everyone[contestant].open(Setting(**setting))
        inputs = BenchmarkInputs(pixels, source, device)
        call = opened.call(inputs)
        seconds, _ = timed(call, device)
        first_call = time.perf_counter() - begin
        for _ in range(_WARM_UP_CALLS.get(device.type, _WARM_UP_CALLS_ELSEWHERE)):
            opened.forget()
            seconds, _ = timed(call, device)
        self._begun = Started(opened, inputs, call, device, memory, calls_a_turn(seconds))
        return {
            "first_call_s": first_call,
            "runs_on": dict(opened.runs_on()),
            "import_s": self._import_seconds,
        }

    def turn(self) -> dict[str, Any]:
        """Calls as often as one turn should; seconds of each call."""
        now = self._started
        times = []
        for _ in range(now.calls_a_turn):
            now.opened.forget()
            times.append(timed(now.call, now.device))
        return {
            "seconds": [seconds for seconds, _ in times],
            "device_seconds": [device for _, device in times if device is not None],
        }

    def inspect(self) -> dict[str, Any]:
        """What there is to know beside times: memory, stages, copies to the host."""
        now = self._started
        memory = now.memory.added()
        stages = stage_shares(now.call, now.device, before=now.opened.forget)
        now.opened.forget()
        return {
            "memory": memory,
            "stages": stages,
            "to_host": bytes_to_host(now.call, now.device),
            "runs_on": dict(now.opened.runs_on()),
        }

    def find(self, embed: bool) -> list[dict[str, Any]]:
        """What the contestant finds in the images."""
        return self._started.opened.find(self._started.inputs, embed)

    def find_in(self, pixels: Any, source: str, embed: bool) -> list[dict[str, Any]]:
        """What it finds in other images."""
        now = self._started
        return now.opened.find(BenchmarkInputs(pixels, source, now.device), embed)

    def threshold(self, faces: int) -> float:
        """The threshold at which random weights report so many faces on the first image."""
        app: Any = self._started.opened
        return threshold_for(app.app, self._started.inputs.bgr()[0], faces)

    def rate(self, device: str, precision: str) -> float:
        """Operations a second in products of matrices."""
        return matmul_rate(_torch_device(device), precision)


def _torch_device(name: str) -> torch.device:
    """The torch device behind a device's name: providers of NVIDIA's cards work on CUDA's."""
    device = Device.parse(name)
    return device.card or torch.device(device.word if device.word in ("mps", "xpu") else "cpu")


def serve(server: WorkerServer, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers `(method, arguments)` with `("done", value)` or `("failed", reason)`."""
    while True:
        try:
            method, arguments = pickle.load(requests)  # noqa: S301  from our own process
        except EOFError:
            return
        pickle.dump(_answer(server, method, arguments), answers)
        answers.flush()


def _answer(server: WorkerServer, method: str, arguments: Mapping[str, Any]) -> tuple[str, Any]:
    try:
        return "done", getattr(server, method)(**arguments)
    except FastFaceError as error:
        return "failed", str(error)
    except Exception as error:  # noqa: BLE001  whatever a contestant raises costs its own row only
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"


def main(import_seconds: float) -> None:
    """Serves on the pipes that the parent made; what libraries print goes to stderr."""
    # os.dup gives a descriptor that prints can't reach; stdout itself becomes stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(WorkerServer(import_seconds), sys.stdin.buffer, answers)
