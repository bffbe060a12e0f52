"""`Profile`: the batches and sizes that an engine is built for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...utils.errors import InvalidInput
from ...utils.packs import ModelFile

#: Sides of a detector's input are multiples of its largest stride.
STRIDE_PX = 32

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """From the least to the most, and the one that it is tuned for."""

    least: int
    best: int
    most: int

    def __str__(self) -> str:
        return f"{self.least} to {self.most}, best {self.best}"


@dataclass(frozen=True)
class Profile:
    """What an engine of a pack takes.

    Attributes:
        batch: Images, or faces, at a time.
        side: Width and height in pixels of the detector's input; multiples of 32. Networks that
            take one size only are not concerned.
    """

    batch: Span = Span(1, 8, 32)
    side: Span = Span(128, 640, 1024)

    def __post_init__(self) -> None:
        for name, span in (("batch", self.batch), ("size", self.side)):
            if not 1 <= span.least <= span.best <= span.most:
                raise InvalidInput(
                    f"got a {name} from {span.least} to {span.most}, best {span.best}; expected "
                    "at least 1, and the best between the least and the most"
                )
        if any(side % STRIDE_PX for side in (self.side.least, self.side.best, self.side.most)):
            raise InvalidInput(
                f"got a size of {self.side} pixels, expected multiples of {STRIDE_PX} such as 640"
            )

    def shapes(self, model: ModelFile, takes_batches: bool) -> tuple[Shape, Shape, Shape]:
        """Least, best and most input shape `(B, C, H, W)` of a model's engine.

        Args:
            model: Whose fixed axes stay as they are.
            takes_batches: Whether the graph takes any number of images; else the batch is 1.
        """
        _, channels, height, width = model.input_shape
        batch = self.batch if takes_batches else Span(1, 1, 1)

        def shape(images: int, side: int) -> Shape:
            return images, channels or 3, height or side, width or side

        return (
            shape(batch.least, self.side.least),
            shape(batch.best, self.side.best),
            shape(batch.most, self.side.most),
        )


def covers(shapes: Sequence[Shape], shape: Sequence[int]) -> bool:
    """Whether an input shape lies between the least and the most of a profile."""
    least, _, most = shapes
    return len(shape) == len(least) and all(
        low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
    )


def shape_range(shapes: Sequence[Shape]) -> str:
    """A profile for people: `1x3x128x128 to 32x3x1024x1024, best 8x3x640x640`."""
    least, best, most = ("x".join(map(str, shape)) for shape in shapes)
    return f"{least} to {most}, best {best}"
