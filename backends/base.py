"""What every backend offers: `Backend`.

A backend that runs ONNX graphs subclasses `GraphBackend` and writes one method, `open_session`.
A backend with a pipeline of its own (a cascade, a wrapped library) writes `open` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol

import torch

from ..utils.devices import Device, DeviceWord
from ..utils.errors import InvalidInput
from ..utils.packs import ModelFile, ModelPack, Task
from ..utils.packs.checksums import content_bytes, unreplaced
from ..utils.packs.detector_files import with_detector
from ..utils.packs.read import read_pack
from ..utils.precision import Precision
from .interfaces import DetectionOptions, Session
from .placement import Placement

#: Numbers of a precision that take the memory of one in fp32.
_SHARES: dict[Precision, int] = {"fp32": 1, "fp16": 2, "bf16": 2, "int8": 4}


class Parameters(Protocol):
    """What a user sets that only one backend knows."""

    #: What they are of, and the packs they are for, for messages.
    of: ClassVar[str]
    packs: ClassVar[str]


class Backend(ABC):
    """A way to run models. One file in this folder is one backend; see `registry`."""

    #: The name users choose.
    name: str
    #: Whether users install it themselves, so that it goes without saying where it is not there.
    extra: ClassVar[bool] = False
    #: What the user set that only this backend knows; models with other parameters are others.
    parameters: Any = None

    @abstractmethod
    def why_unavailable(self) -> str | None:
        """Why this backend can't run here and the one step that mends it; None when it can."""

    @abstractmethod
    def devices(self) -> tuple[DeviceWord, ...]:
        """Devices this backend can be asked for here, best first; empty when it is missing."""

    def precisions(self, device: str) -> tuple[Precision, ...]:
        """Precisions it offers on a device, the default first."""
        return ("fp32",)

    def proven_precisions(self, device: str) -> tuple[Precision, ...]:
        """Those of its precisions on a device, the cheapest first, that are used for a task only
        after their answers for it were held against fp32; `fast` chooses among them.
        """
        return ()

    def engine_version(self) -> str:
        """The release of the engine, which decides its answers; empty where that is not asked."""
        return ""

    def why_not_offered(self, precision: Precision, device: str) -> str:
        """Why it does not offer one of `PRECISIONS` on a device, in a few words."""
        return f"backend {self.name!r} does not compute in it on {device}"

    def packs(self) -> tuple[ModelPack, ...]:
        """Packs that come with the backend itself, no download needed."""
        return ()

    def why_unsupported(self, pack: ModelPack) -> str | None:
        """Why this backend can't run a pack, or None when it can."""
        return None

    def best_precision(self, pack: ModelPack, device: str) -> Precision:
        """The precision that `auto` takes for a pack: one of `precisions`."""
        return self.precisions(device)[0]

    def why_not_auto(self, pack: ModelPack, device: str, precision: str) -> str | None:
        """Why `auto` should not take it for a pack that it accepts, or None.

        Args:
            pack: The pack.
            device: One of its `devices`, with an index if wanted, or `auto`.
            precision: One of its `precisions` on that device, or `auto`.
        """
        return None

    def embedding_refusal(self, pack: ModelPack) -> str | None:
        """Why ArcFace consumers must not read `embedding` from this pack's faces, or None."""
        return None

    def obtain(
        self, pack: ModelPack, download: bool, on_download: Callable[[int, int], None] | None
    ) -> ModelPack:
        """One of its own `packs`, when all its files are there.

        Args:
            pack: The pack.
            download: Whether the user chose to download what is missing.
            on_download: Called with bytes done and bytes in all.

        Raises:
            ModelError: A file is missing; the message has its address and its folder.
            DownloadError: The download failed.
        """
        return pack

    def reread(self, pack: ModelPack) -> ModelPack:
        """A pack as its files are now.

        Raises:
            ModelError: It is not there any more, or nothing in it is usable.
        """
        read = read_pack(pack.name, pack.folder)
        if pack.detector is None:
            return read
        # One that gave no landmarks keeps to whether the pack's own is asked for them.
        return with_detector(
            read,
            pack.detector.name,
            pack.model("detection").path,
            second_look=pack.detector.landmarks_from is not None,
        )

    def with_parameters(self, parameters: Parameters) -> Backend:
        """This backend with what the user set.

        Raises:
            InvalidInput: It is not for this backend.
        """
        raise InvalidInput(
            f"got parameters of {parameters.of}, but backend {self.name!r} does not run it; "
            f"choose {parameters.packs}, or disconnect them"
        )

    def detection_sizes(
        self, pack: ModelPack, options: DetectionOptions
    ) -> tuple[tuple[int, int], ...]:
        """The sizes (width, height) at which the detector of a pack looks when asked for others."""
        return options.sizes_within(pack.model("detection").fixed_size_wh)

    def detection_settings(self, pack: ModelPack, options: DetectionOptions) -> str:
        """What decides which faces are found, besides the threshold, for people."""
        sizes = self.detection_sizes(pack, options)
        looks = " + ".join(f"{width} x {height}" for width, height in sizes)
        fixed = pack.model("detection").fixed_size_wh
        if fixed is None or sizes == options.sizes_wh == (fixed,):
            return looks
        return f"{looks} (this pack's detector takes {fixed[0]} x {fixed[1]} alone)"

    def fallback_placement(self, placement: Placement) -> Placement | None:
        """Where a model goes on whose device fails or is full; None where that is an error."""
        if placement.strict or placement.device == "cpu" or "cpu" not in self.devices():
            return None
        return replace(placement, device="cpu", precision="fp32", proven=None)

    @abstractmethod
    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Any:
        """Loads the model of one task of a pack.

        What can leave memory and come back later is guarded by `unreplaced` each time it is read.

        Returns:
            The network as a `Session`, or several as one object of a type that
            `models.opening.open_model` knows, which makes a detector or head of them; or that
            itself, where a library brings it whole.

        Raises:
            BackendUnavailable: It can't run as asked; the message has the remedy.
            ModelReplaced: The file has another content than when the pack was read.
            ModelError: The file is damaged or not what the pack says.
        """

    def guard(self, model: ModelFile) -> AbstractContextManager[list[str]]:
        """Guards the opening of a model, and gives the content of its file; see `unreplaced`."""
        return unreplaced([model])


class GraphBackend(Backend):
    """A backend that runs the pack's ONNX graphs; the tasks around them are shared."""

    #: How many times the size of a graph its first opening takes of RAM at most, the proof of
    #: rewritten graphs included: ResNet100 takes 2.8 in torch, 2.7 in OpenVINO. See
    #: `benchmarks/opening.py`.
    opening_factor: ClassVar[float] = 2.8
    #: Whether `open_session` itself deals with devices that are not there: goes elsewhere and says
    #: so, or refuses where `strict` is asked for. Else they are refused before.
    explains_missing_devices: ClassVar[bool] = False
    #: The order in memory in which its sessions have the least to do with images on the CPU.
    input_format: ClassVar[torch.memory_format] = torch.contiguous_format

    def why_unsupported(self, pack: ModelPack) -> str | None:
        # Checkpoints whose header was read are made graphs of.
        foreign = [
            model.path.name
            for model in pack.models
            if model.path.suffix != ".onnx" and model.header is None
        ]
        if foreign:
            return f"it runs ONNX graphs, and pack {pack.name!r} is made of {', '.join(foreign)}"
        return None

    @abstractmethod
    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Opens one graph on `placement.device`, one of `devices()`, in one of `precisions()`."""

    def _require_device(self, device: str) -> None:
        """
        Raises:
            InvalidInput: It is none of `devices()`.
        """
        offered = self.devices()
        # Where it has none at all, `open_session` knows why.
        if offered and Device.parse(device).word not in offered:
            raise InvalidInput(
                f"{self.name}: got device {device!r}, expected one of {list(offered)} here"
            )

    def session_bytes(self, model: ModelFile, placement: Placement) -> int:
        """Memory that the session of a graph is declared to take on its device."""
        # Of a precision that there is not, `open_session` says so.
        return content_bytes(model) // _SHARES.get(placement.precision_of(model.task), 1)

    def _open_foreign(self, model: ModelFile, placement: Placement) -> Session:
        # Here, so that ComfyUI's start does not wait for what rewrites graphs.
        from .onnx_graphs.foreign import foreign_graph
        from .onnx_graphs.ultralytics_graph import as_graph
        from .onnx_graphs.value_sizes import refuse_absurd_sizes

        if not self.explains_missing_devices:
            self._require_device(placement.device)
        with unreplaced([model]), foreign_graph(model.path):
            graph = as_graph(model)
            refuse_absurd_sizes(graph)
            return self.open_session(graph, placement)

    def open(self, pack: ModelPack, task: Task, placement: Placement) -> Session:
        from .residency.model_registry import ModelName
        from .sessions.evictable_session import EvictableSession

        model = pack.model(task)
        return EvictableSession(
            ModelName(pack.name, task, self.name, model.path.name),
            partial(self._open_foreign, model),
            placement,
            self.session_bytes(model, placement),
            self.fallback_placement(placement),
            model.black,
            self.opening_factor,
            self.input_format,
        )
