"""`Implementation`: what is measured: the backends, and others in `implementations/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..utils.devices import DeviceWord
from ..utils.packs import ModelPack, Task
from ..utils.parity import Found
from ..utils.precision import Precision
from .benchmark_inputs import BenchmarkInputs


@dataclass(frozen=True)
class Setting:
    """What a contestant is asked to do.

    Attributes:
        job: One of `jobs.JOBS`.
        variant: One of the job's variants, or empty.
        device: Such as `cpu` or `cuda:0`.
        precision: `fp32`, `fp16` or `bf16`.
        pack_name: The pack's name.
        pack_folder: Where its files are.
        det_size: Side of the detector's input in pixels.
        threshold: Lowest score of a face, 0..1; 0 takes what suits the weights.
    """

    job: str
    variant: str
    device: str
    precision: str
    pack_name: str
    pack_folder: str
    det_size: int
    threshold: float

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.det_size, self.det_size


class Opened(Protocol):
    """A contestant that is ready to be timed."""

    def runs_on(self) -> Mapping[Task, str]:
        """What each of its models really runs on, by task."""
        ...

    def call(self, inputs: BenchmarkInputs) -> Callable[[], Any]:
        """What is timed: does the setting's job once, results on the CPU."""
        ...

    def forget(self) -> None:
        """Drops what it remembers of images; called before each call, and not timed."""

    def find(self, inputs: BenchmarkInputs, embed: bool) -> list[Found]:
        """What it finds in every image, to be compared; not timed."""
        ...


class Implementation(ABC):
    """Someone who analyses faces. A peer's file has one subclass, and needs nothing else."""

    #: Unique; shown, and chosen by.
    name: str
    #: The package whose version belongs to the result; empty for ours.
    distribution: str = ""
    #: Whether it is one of this pack's backends.
    is_ours = False

    @abstractmethod
    def why_unavailable(self) -> str | None:
        """Why it can't take part here and what mends it, or None."""

    @abstractmethod
    def devices(self) -> tuple[DeviceWord, ...]:
        """Devices it can be asked for here, best first."""

    def precisions(self, device: str) -> tuple[Precision, ...]:
        return ("fp32",)

    def own_weights(self) -> str | None:
        """Name of the weights it brings, or None when it runs a pack's."""
        return None

    @abstractmethod
    def why_unsupported(self, job: str, pack: ModelPack) -> str | None:
        """Why it can't do a job with a pack (or with its own weights), or None."""

    def variants(self, job: str) -> tuple[str, ...]:
        """The job's variants that it can do too."""
        return ()

    @abstractmethod
    def open(self, setting: Setting) -> Opened:
        """Loads what the setting needs."""
