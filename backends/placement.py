"""Where and how a model is to run, and what it really runs on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import torch

from ..utils.devices import Device, torch_devices
from ..utils.errors import BackendUnavailable
from ..utils.packs import Task
from ..utils.precision import Precision

_log = logging.getLogger("FastFace")

#: What users can ask for; each backend says which of these it offers.
PRECISIONS: tuple[Precision, ...] = ("fp32", "mixed", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class Placement:
    """Where and how a model is to run.

    Attributes:
        device: One of the backend's `devices()`, with an optional index: `cpu`, `cuda`, `cuda:1`.
        precision: `fp32`, `fp16`, `bf16`, or `mixed`: recognition in fp16, where it saves most and
            changes least, and the rest in fp32, so that the same faces come in the same order;
            `int8`, or `fast`, the cheapest that is proven for each task.
        strict: Whether running anywhere else than asked is an error instead of a warning.
        proven: For precisions that are used only where their answers were held against fp32: each
            task for which they were, its precision, and the recipe of its int8 graphs, if any;
            other tasks run in fp32. None for other precisions.
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    strict: bool = False
    proven: tuple[tuple[Task, Precision, str], ...] | None = None

    def precision_of(self, task: Task) -> Precision:
        """The precision of the model of one task: `fp32`, `fp16`, `bf16` or `int8`."""
        if self.proven is not None:
            proven: dict[Task, Precision] = {each[0]: each[1] for each in self.proven}
            return proven.get(task, "fp32")
        if self.precision != "mixed":
            return self.precision
        return "fp16" if task == "recognition" else "fp32"

    def recipe_of(self, task: Task) -> str:
        """The recipe of the int8 graphs of a task; see `Int8Recipe`."""
        return next((each[2] for each in self.proven or () if each[0] == task), "")


@dataclass(frozen=True)
class RunsOn:
    """What a model really runs on, found out after it was opened.

    Attributes:
        device: The device in the backend's terms, such as `cpu` or `cuda:0`.
        provider: The execution provider or engine, such as `CUDAExecutionProvider` or `torch`.
        share: Share of the graph's nodes that the provider took, 0..1; None where unknown.
        note: Why it differs from what was asked, and the remedy; empty when it does not.
        precision: What it computes in, where the provider's name does not say so.
    """

    device: str
    provider: str
    share: float | None = None
    note: str = ""
    precision: str = ""

    def __str__(self) -> str:
        share = "" if self.share is None else f", {self.share:.0%} of its nodes"
        precision = f" in {self.precision}" if self.precision else ""
        return f"{self.provider}{precision} on {self.device}{share}"


def placed_in_torch(backend: str, placement: Placement) -> tuple[torch.device, str]:
    """The device to use, and why it is not the one that was asked for; empty if it is.

    Raises:
        BackendUnavailable: The device is not there, and `strict` is asked for.
    """
    asked = Device.parse(placement.device)
    there = torch_devices()
    is_beyond = asked.word == "cuda" and asked.number >= torch.cuda.device_count()
    if asked.word in there and not is_beyond:
        return torch.device(placement.device), ""
    note = (
        f"{backend} was asked for {placement.device}, and torch {torch.__version__} has only "
        f"{', '.join(there)} here; install a torch for that device, or choose another"
    )
    if placement.strict:
        raise BackendUnavailable(note)
    _warn_once(note)
    return torch.device("cpu"), note


@cache
def _warn_once(note: str) -> None:
    """A pack has several models and one reason."""
    _log.warning("%s", note)
