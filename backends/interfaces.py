"""What a backend opens: `Session`, `Detector`, `Head`, `Recognizer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..utils.crop_spec import CropSource
from ..utils.faces import Faces
from ..utils.images import ImageBatch
from ..utils.letterbox import Canvas
from ..utils.packs import Task
from .placement import RunsOn

if TYPE_CHECKING:
    from .pending import Pending


@dataclass(frozen=True)
class DetectionOptions:
    """What a detector is asked for.

    Attributes:
        sizes_wh: Network input sizes in pixels, width first; the finds of all are merged by NMS.
        threshold: Lowest score of a face, 0..1.
        nms_threshold: Overlap (IoU, with areas as the detector's family takes them) above which the
            weaker face goes.
        robust: Whether images without a sure face are looked at again: turned, finer and coarser.
            An `Analyzer` does that; a `Detector` looks as the sizes say.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 640),)
    threshold: float = 0.5
    nms_threshold: float = 0.4
    robust: bool = False

    def sizes_within(self, fixed_size_wh: tuple[int, int] | None) -> tuple[tuple[int, int], ...]:
        """The sizes at which a detector can look.

        Args:
            fixed_size_wh: The only input (width, height) its network takes, or None. Smaller sizes
                are drawn into that input; of larger ones no more than it holds is left.
        """
        if fixed_size_wh is None:
            return self.sizes_wh
        most_width, most_height = fixed_size_wh
        fitting = ((min(w, most_width), min(h, most_height)) for w, h in self.sizes_wh)
        return tuple(dict.fromkeys(fitting))


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


def input_format(session: Session) -> torch.memory_format:
    """The order in which a session has the least to do with images: planes unless it says more.

    Any order gives the same results.
    """
    return getattr(session, "input_format", torch.contiguous_format)


class GraphSession(Session, Protocol):
    """The session of one graph, which may have further inputs besides the image."""

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; see `Session.run`.

        Args:
            x: The images.
            more: The further inputs, in the graph's order; on `device` and of the image's dtype.
        """
        ...


@runtime_checkable
class CanvasSession(Session, Protocol):
    """The session of a detector, whose input may have black margins at the right and below."""

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        """Height and width of the upper left part of a canvas that it needs as its input."""
        ...

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        """Runs the network; see `Session.run`.

        Args:
            x: Whole canvases, or their upper left parts of `input_hw`.
            canvas: Where the pictures lie; None where `x` is just an input.

        Returns:
            The outputs for whole canvases.
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

    task: Task

    @property
    def runs_on(self) -> RunsOn:
        """What it runs on now."""
        ...

    def describe(self, images: CropSource, faces: Faces) -> Mapping[str, Tensor]:
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
