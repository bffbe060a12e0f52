"""What every backend offers: `Backend`, and what it opens: `Session`, `Detector`, `Head`.

A backend that runs ONNX graphs subclasses `GraphBackend` and writes one method, `open_session`.
A backend with a pipeline of its own (a cascade, a wrapped library) writes `open` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from ..utils.images import ImageBatch, Images
from ..utils.packs import ModelFile, ModelPack
from ..utils.views import FaceView
from .pending import Pending

#: What users can ask for; each backend says which of these it offers.
PRECISIONS = ("fp32", "mixed", "fp16", "bf16")


@dataclass(frozen=True)
class Placement:
    """Where and how a model is to run.

    Attributes:
        device: One of the backend's `devices()`, with an optional index: `cpu`, `cuda`, `cuda:1`.
        precision: `fp32`, `fp16`, `bf16`, or `mixed`: recognition in fp16, where it saves most and
            changes least, and the rest in fp32, so that the same faces come in the same order.
        strict: Whether running anywhere else than asked is an error instead of a warning.
    """

    device: str = "cpu"
    precision: str = "fp32"
    strict: bool = False

    def precision_of(self, task: str) -> str:
        """The precision of the model of one task: `fp32`, `fp16` or `bf16`."""
        if self.precision != "mixed":
            return self.precision
        return "fp16" if task == "recognition" else "fp32"


@dataclass(frozen=True)
class DetectionOptions:
    """What a detector is asked for.

    Attributes:
        sizes_wh: Network input sizes in pixels, width first; the finds of all are merged by NMS.
        threshold: Lowest score of a face, 0..1.
        nms_threshold: Overlap (IoU with InsightFace's +1 areas) above which the weaker face goes.
        robust: Whether images without a sure face are looked at again: turned, finer and coarser.
            An `Analyzer` does that; a `Detector` looks as the sizes say.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 640),)
    threshold: float = 0.5
    nms_threshold: float = 0.4
    robust: bool = False


@dataclass(frozen=True)
class RunsOn:
    """What a model really runs on, found out after it was opened.

    Attributes:
        device: The device in the backend's terms, such as `cpu` or `cuda:0`.
        provider: The execution provider or engine, such as `CUDAExecutionProvider` or `torch`.
        share: Share of the graph's nodes that the provider took, 0..1; None where unknown.
        note: Why it differs from what was asked, and the remedy; empty when it does not.
    """

    device: str
    provider: str
    share: float | None = None
    note: str = ""

    def __str__(self) -> str:
        share = "" if self.share is None else f", {self.share:.0%} of its nodes"
        return f"{self.provider} on {self.device}{share}"


@runtime_checkable
class Session(Protocol):
    """One opened network."""

    #: Where `run` expects its input and leaves its results.
    device: torch.device

    @property
    def runs_on(self) -> RunsOn:
        """What it runs on now."""
        ...

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on `device`, in the dtype of the graph's input.

        Returns:
            The graph's outputs in its order, on `device`.
        """
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds faces in images."""

    #: Where it expects the images.
    device: torch.device

    @property
    def runs_on(self) -> RunsOn:
        """What it runs on now."""
        ...

    #: The only input size (width, height) the network takes, or None when it takes any.
    fixed_size_wh: tuple[int, int] | None

    def detect(self, batch: ImageBatch, options: DetectionOptions) -> Faces | Pending:
        """Every face of a batch of equal-sized images on `device`.

        Returns:
            Rows grouped by image, best score first within each; `image_index` counts the images
            of this batch. A detector that needs no answer from the device to get so far gives
            what is `Pending` instead, and all batches are read together.
        """
        ...


@runtime_checkable
class Head(Protocol):
    """Tells something about faces that were found: identity, landmarks, age."""

    task: str

    @property
    def runs_on(self) -> RunsOn:
        """What it runs on now."""
        ...

    def describe(self, images: Images, faces: Faces) -> Mapping[str, Tensor]:
        """Fields of `Faces` by name, one row a face of `faces` (at least one), on its device."""
        ...


@runtime_checkable
class Recognizer(Head, Protocol):
    """The head of task `recognition`: identity embeddings."""

    #: Where `embed` expects its crops.
    device: torch.device
    #: Side in pixels of the aligned crops it takes.
    size: int

    def embed(self, crops: ImageBatch) -> Tensor:
        """Embeds aligned crops `[N,size,size,3]` uint8 on `device`: `[N,D]` float32."""
        ...


class Parameters(Protocol):
    """What a user sets that only one backend knows."""

    #: What they are of, and the packs they are for, for messages.
    of: ClassVar[str]
    packs: ClassVar[str]


class Backend(ABC):
    """A way to run models. One file in this folder is one backend; see `registry`."""

    #: The name users choose.
    name: str
    #: What the user set that only this backend knows; models with other parameters are others.
    parameters: Any = None

    @abstractmethod
    def missing(self) -> str | None:
        """Why this backend can't run here and the one step that mends it; None when it can."""

    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """Devices this backend can be asked for here, best first; empty when it is missing."""

    def precisions(self, device: str) -> tuple[str, ...]:
        """Precisions it offers on a device, the default first."""
        return ("fp32",)

    def packs(self) -> tuple[ModelPack, ...]:
        """Packs that come with the backend itself, no download needed."""
        return ()

    def accepts(self, pack: ModelPack) -> str | None:
        """Why this backend can't run a pack, or None when it can."""
        return None

    def best_precision(self, pack: ModelPack, device: str) -> str:
        """The precision that `auto` takes for a pack: one of `precisions`."""
        return self.precisions(device)[0]

    def reservation(self, pack: ModelPack, device: str, precision: str) -> str | None:
        """Why `auto` should not take it for a pack that it accepts, or None.

        Args:
            pack: The pack.
            device: One of its `devices`, with an index if wanted, or `auto`.
            precision: As the user chose it, or `auto`.
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

    def with_parameters(self, parameters: Parameters) -> Backend:
        """This backend with what the user set.

        Raises:
            InvalidInput: It is not for this backend.
        """
        raise InvalidInput(
            f"got parameters of {parameters.of}, but backend {self.name!r} does not run it; "
            f"choose {parameters.packs}, or disconnect them"
        )

    def detection_settings(self, options: DetectionOptions) -> str:
        """What decides which faces are found, besides the threshold, for people."""
        return " + ".join(f"{width} x {height}" for width, height in options.sizes_wh)

    def slower(self, placement: Placement) -> Placement | None:
        """Where a model goes on whose device fails or is full; None where that is an error."""
        if placement.strict or placement.device == "cpu" or "cpu" not in self.devices():
            return None
        return replace(placement, device="cpu", precision="fp32")

    def view(self, pack: ModelPack, task: str) -> FaceView | None:
        """What the model of a task looks at of a face; None where it wants the whole image."""
        return None

    @abstractmethod
    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        """Loads the model of one task of a pack.

        Raises:
            BackendUnavailable: It can't run as asked; the message has the remedy.
            ModelError: The file is damaged or not what the pack says.
        """


class GraphBackend(Backend):
    """A backend that runs the pack's ONNX graphs; the tasks around them are shared."""

    def accepts(self, pack: ModelPack) -> str | None:
        foreign = [model.path.name for model in pack.models if model.path.suffix != ".onnx"]
        if foreign:
            return f"it runs ONNX graphs, and pack {pack.name!r} is made of {', '.join(foreign)}"
        return None

    def view(self, pack: ModelPack, task: str) -> FaceView | None:
        from .tasks import view_of

        return view_of(pack.model(task))

    @abstractmethod
    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Opens one graph."""

    def session_bytes(self, model: ModelFile, placement: Placement) -> int:
        """Memory that the session of a graph is declared to take on its device."""
        share = 1 if placement.precision_of(model.task) == "fp32" else 2
        return model.path.stat().st_size // share

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        from .memory.residents import ModelName
        from .sessions.managed import ManagedSession
        from .tasks import open_task

        model = pack.model(task)
        session = ManagedSession(
            ModelName(pack.name, task, self.name, model.path.name),
            partial(self.open_session, model),
            placement,
            self.session_bytes(model, placement),
            self.slower(placement),
        )
        return open_task(pack, model, session)
