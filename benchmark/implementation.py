"""`Implementation`: what is measured: the backends, and others in `implementations/`."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..utils.errors import InvalidInput
from ..utils.packs import ModelPack
from ..utils.parity import Found
from .inputs import BenchmarkInputs


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

    def runs_on(self) -> Mapping[str, str]:
        """What each of its models really runs on, by task."""
        ...

    def call(self, material: BenchmarkInputs) -> Callable[[], Any]:
        """What is timed: does the setting's job once, results on the CPU."""
        ...

    def forget(self) -> None:
        """Drops what it remembers of images; called before each call, and not timed."""

    def find(self, material: BenchmarkInputs, embed: bool) -> list[Found]:
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
    def devices(self) -> tuple[str, ...]:
        """Devices it can be asked for here, best first."""

    def precisions(self, device: str) -> tuple[str, ...]:
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


def contestants(extra: Sequence[Path] = ()) -> dict[str, Implementation]:
    """Everyone by name: ours first, then those of others, then those in files of the user's.

    Args:
        extra: Python files, each with a subclass of `Implementation`, like those in
            `implementations/`: their relative imports work too.

    Raises:
        InvalidInput: A file is not there, or holds no contestant.
    """
    from .ours import our_contestants

    everyone = {contestant.name: contestant for contestant in our_contestants()}
    package = f"{__package__}.implementations"
    folder = importlib.import_module(package).__path__
    for info in sorted(pkgutil.iter_modules(folder), key=lambda info: info.name):
        module = importlib.import_module(f"{package}.{info.name}")
        everyone.update({peer.name: peer for peer in _contestants_in(module)})
    for file in extra:
        module = _module_of(file, f"{package}.{file.stem}")
        theirs = _contestants_in(module)
        if not theirs:
            raise InvalidInput(
                f"{file} holds no subclass of Implementation; see benchmark/implementations"
            )
        everyone.update({peer.name: peer for peer in theirs})
    return everyone


def _contestants_in(module: Any) -> list[Implementation]:
    return [
        value()
        for value in vars(module).values()
        if isinstance(value, type)
        and not value.__name__.startswith("_")  # what several have in common
        and issubclass(value, Implementation)
        and value.__module__ == module.__name__
    ]


def _module_of(file: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    try:
        is_there = file.is_file()
    except OSError:  # no name that a file can have, or not ours to look at
        is_there = False
    if spec is None or spec.loader is None or not is_there:
        raise InvalidInput(f"got contestant file {file}, expected a Python file that is there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
