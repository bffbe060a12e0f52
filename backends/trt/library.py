"""TensorRT's three libraries - `tensorrt` 10, `tensorrt` 11, `tensorrt_rtx` - as one.

What they have in common is called on `module` as it is; what differs is answered here.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ...utils.errors import BackendUnavailable
from ..providers.check import pip

_log = logging.getLogger("FastFace")

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt_rtx"

#: Compute capabilities that tensorrt_rtx has kernels for: `ComputeCapability` of its bindings 1.7.
#: Data centre cards of the Hopper generation and the ones after it are not among them.
RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
#: The first whose contexts take their memory from outside and run by address as later ones do.
_OLDEST = (10, 3)
#: What importing a library may raise when its shared libraries or the driver are missing.
_LOADING_ERRORS = (ImportError, OSError, RuntimeError, AttributeError)


@dataclass(frozen=True)
class Card:
    """An NVIDIA GPU: its name and compute capability, 89 for 8.9."""

    name: str
    capability: int

    def __str__(self) -> str:
        return f"{self.name} (sm{self.capability})"


def card_here(index: int = 0) -> Card | None:
    """The NVIDIA GPU of this index, or None where torch sees none."""
    if torch.version.hip or not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return None
    major, minor = torch.cuda.get_device_capability(index)
    return Card(torch.cuda.get_device_name(index), 10 * major + minor)


def cuda_device(index: int) -> torch.device:
    """The torch device of an NVIDIA GPU."""
    return torch.device("cuda", index)


@dataclass(frozen=True)
class Library:
    """One of the libraries, imported.

    Attributes:
        name: `tensorrt` or `tensorrt_rtx`.
        version: Its own.
        module: The Python module.
        why: Why it is the one that is used, for people.
    """

    name: str
    version: str
    module: ModuleType
    why: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def is_rtx(self) -> bool:
        return self.name == TENSORRT_RTX

    @property
    def keeps_timings(self) -> bool:
        """Whether it times kernels while building: tensorrt_rtx chooses them on the user's card."""
        return not self.is_rtx

    def network_flags(self) -> int:
        """Flags for a network whose types are those of its graph, and no others.

        In version 10 that has to be asked for; 11 knows no other kind, and there the flag is on its
        way out; tensorrt_rtx takes it.
        """
        if not self.is_rtx and _release(self.version) >= (11,):
            return 0
        return 1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def device_key(self, card: Card | None) -> str:
        """The devices that an engine built here, for this card, runs on.

        tensorrt_rtx builds for all cards since Ampere, on any machine; Turing's takes a build of
        its own. The others build for the very card.
        """
        if not self.is_rtx:
            return str(card)
        return "sm75" if card and card.capability == 75 else "sm80 and newer"

    def aim(self, config: Any, card: Card | None) -> None:
        """Tells a builder the card, where the library has to be told."""
        if self.is_rtx and card and card.capability == 75:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self.module.ComputeCapability.SM75, 0)

    def create_context(self, engine: Any, cuda_graphs: bool) -> Any:
        """A context whose scratch memory is given to it for each run."""
        strategy = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if not (cuda_graphs and self.is_rtx):
            return engine.create_execution_context(strategy)
        # It compiles kernels while it runs, and knows itself when that is over.
        runtime_config = engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(strategy)
        runtime_config.cuda_graph_strategy = self.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(runtime_config)

    @property
    def logger(self) -> Any:
        """The library's logger: one a process, since it takes no second one."""
        return _logger(self.module)

    def complaints(self) -> str:
        """What the library has said of errors since it was asked last."""
        said: deque[str] = self.logger.said
        text = "; ".join(said)
        said.clear()
        return text or f"{self.name} gave no reason"


@functools.cache
def _logger(module: Any) -> Any:
    levels = {
        module.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        module.ILogger.Severity.ERROR: logging.ERROR,
        module.ILogger.Severity.WARNING: logging.WARNING,
    }

    class Logger(module.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.said: deque[str] = deque(maxlen=4)

        def log(self, severity: Any, msg: str) -> None:
            # Errors become part of an exception's text; on their own they would be said twice.
            if levels.get(severity) == logging.ERROR:
                self.said.append(msg.strip())
            _log.debug("%s: %s", module.__name__, msg)

    return Logger()


def choose_library(card: Card | None) -> Library:
    """The library to use on a machine with this card.

    `tensorrt` comes first: it times kernels on the very card. `tensorrt_rtx` chooses among those
    that were compiled for the generation, and is the only one that builds without a GPU.

    Raises:
        BackendUnavailable: None can be used; says what each lacks, and what to install.
    """
    lacking: list[str] = []
    for name in (TENSORRT, TENSORRT_RTX):
        reason = _unfit_for(name, card)
        module = None if reason else _imported(name)
        if isinstance(module, ModuleType):
            return Library(name, module.__version__, module, _why(name, card, lacking))
        lacking.append(reason or str(module))
    raise BackendUnavailable(f"{'; '.join(lacking)}; {remedy(card)}")


def _why(name: str, card: Card | None, lacking: list[str]) -> str:
    if card is None:
        return "builds without a GPU"
    passed_over = "".join(f" ({reason})" for reason in lacking)
    if name == TENSORRT:
        return f"times its kernels on this very card, {card}"
    return f"has kernels for {card}{passed_over}"


def _unfit_for(name: str, card: Card | None) -> str | None:
    """Why a library can't serve a card, whether or not it is installed."""
    if name == TENSORRT and card is None:
        return "tensorrt builds and runs on an NVIDIA GPU only, and torch finds none"
    if name == TENSORRT_RTX and card and card.capability not in RTX_CAPABILITIES:
        return f"tensorrt_rtx has no kernels for {card}"
    return None


def _imported(name: str) -> ModuleType | str:
    """The module, or why there is none."""
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    try:
        module = importlib.import_module(name)
        version = str(module.__version__)
    except _LOADING_ERRORS as error:
        return f"{name} is installed but does not load ({error})"
    if name == TENSORRT and _release(version) < _OLDEST:
        return f"tensorrt {version} is older than {'.'.join(map(str, _OLDEST))}"
    return module


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".")[:2] if number.isdecimal())


def remedy(card: Card | None) -> str:
    """The command that installs the library for a card."""
    for_rtx = card is None or card.capability in RTX_CAPABILITIES
    name = "tensorrt-rtx" if for_rtx else "tensorrt"
    # The wheels are named for CUDA's generation; torch tells which one the driver serves.
    cuda = (torch.version.cuda or "13").partition(".")[0]
    whom = f"for {card}" if card else "to build without a GPU"
    return f"install it {whom} with: {pip(f'install {name}-cu{cuda}')}"
