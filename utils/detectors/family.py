"""`DetectorFamily`: what face detectors of one kind have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ..letterbox import Canvas, fitted_size
from ..packs import ModelFile
from ..packs.graph_header import GraphHeader
from .candidates import Candidates

#: Axes of a detector's input: images, channels, height, width.
_INPUT_RANK = 4


class DetectorFamily(ABC):
    """How the graphs of one family of face detectors are fed and what their outputs mean.

    Attributes:
        name: As people call it; `ModelFile.family` holds it.
        graphs: What its graphs look like, in a few words, for errors.
        mean, std: Its networks expect `(pixels_0_to_255 - mean) / std`; `mean` is one number, or
            one for each channel in the network's order.
        bgr: Whether the network's channels are blue, green, red.
        threshold: Lowest score that tells a face from none, 0..1, as its authors set it.
        nms_threshold: Overlap above which the weaker of two faces goes, 0..1, likewise.
        side_excess_px: How much longer the sides of boxes count in overlaps.
        clips: Whether boxes and landmarks end at the image's border.
        has_black_margins: Whether canvases have black margins at the right and below that are
            worth dividing the network for; see `SplitSession`.
    """

    name: ClassVar[str]
    graphs: ClassVar[str]
    mean: ClassVar[float | tuple[float, float, float]] = 0.0
    std: ClassVar[float] = 1.0
    bgr: ClassVar[bool] = False
    threshold: ClassVar[float]
    nms_threshold: ClassVar[float]
    side_excess_px: ClassVar[float] = 0.0
    clips: ClassVar[bool] = False
    has_black_margins: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, header: GraphHeader) -> bool:
        """Whether a graph that takes one batch of images is one of the family."""

    @abstractmethod
    def has_landmarks(self, model: ModelFile) -> bool:
        """Whether a graph of the family gives five landmarks a face."""

    @abstractmethod
    def canvas(
        self,
        source_hw: tuple[int, int],
        size_wh: tuple[int, int],
        fixed_size_wh: tuple[int, int] | None,
    ) -> Canvas:
        """Where an image lies on the network's input.

        Args:
            source_hw: Height and width of the image in pixels.
            size_wh: Width and height to fit it into.
            fixed_size_wh: The only input the network takes, no smaller than `size_wh`, or None.
        """

    @abstractmethod
    def decode(
        self,
        outputs: Sequence[Tensor],
        model: ModelFile,
        canvas_hw: tuple[int, int],
        threshold: float,
        most: int | None = None,
    ) -> Candidates:
        """What the outputs say, in pixels of the canvas.

        Args:
            outputs: Of the graph in its order, each with the image first, any floating dtype.
            model: The graph.
            canvas_hw: Height and width of the network's input, in pixels.
            threshold: Lowest score, 0..1.
            most: See `choose_best`.

        Raises:
            ModelError: The outputs are not those of the family.
        """

    def suppressed(self, boxes: Tensor) -> Tensor:
        """The boxes `[...,4]` xyxy whose overlaps count, of those in source pixels."""
        return boxes


def takes_images(header: GraphHeader) -> bool:
    """Whether a graph has one input, and that has the axes of a batch of images.

    Whether the sizes are those of any image is seen to before it is opened.
    """
    return len(header.inputs) == 1 and len(header.inputs[0].shape) == _INPUT_RANK


def snug_canvas(
    source_hw: tuple[int, int],
    size_wh: tuple[int, int],
    fixed_size_wh: tuple[int, int] | None,
    multiple: int,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> Canvas:
    """A canvas no larger than the image on it needs, which lies at the upper left.

    Args:
        source_hw, size_wh, fixed_size_wh: See `DetectorFamily.canvas`.
        multiple: Its sides are multiples of this, in pixels.
        fill: Colour of the rest, RGB 0..255.
    """
    filled_hw = fitted_size(source_hw, size_wh)
    if fixed_size_wh is None:
        height, width = (-(-side // multiple) * multiple for side in filled_hw)
    else:
        width, height = fixed_size_wh
    scale_xy = filled_hw[1] / source_hw[1], filled_hw[0] / source_hw[0]
    return Canvas(source_hw, filled_hw, (height, width), fill=fill, scale_xy=scale_xy)
