"""`Images`: what the caller handed us, checked, grouped by size, never copied before it must be."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import in_order
from .errors import InvalidInput
from .pixels import extremes, quantised
from .progress import may_stop

_log = logging.getLogger("FastFace")

#: Finite values beyond this are no picture a network can see: HDR or 0..255 data, to be mapped.
_LARGEST_SANE_VALUE = 8.0
_FLOAT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of one size, where they lie.

    Attributes:
        pixels: `[B,H,W,3]`, uint8 0..255 or floating 0..1, any device; a view of the caller's
            memory wherever that is possible.
        positions: Place of each image in the caller's sequence.
        bgr: True when the channels are blue, green, red; else red, green, blue.
    """

    pixels: Tensor
    positions: tuple[int, ...]
    bgr: bool

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: slice) -> ImageBatch:
        """Some of the images, as a view."""
        return ImageBatch(self.pixels[rows], self.positions[rows], self.bgr)

    def to(self, device: torch.device) -> ImageBatch:
        # Blocking: torch would let the CPU read what a GPU is still copying to it.
        return ImageBatch(self.pixels.to(device), self.positions, self.bgr)

    def to_uint8(self) -> Tensor:
        """`[B,H,W,3]` uint8 0..255 in the batch's own channel order."""
        return quantised(self.pixels)

    def extremes(self) -> Tensor | None:
        """Smallest and largest value `[2]` on the images' device, NaN if any pixel is.

        None for uint8 images, which can hold no bad value.
        """
        if self.pixels.dtype == torch.uint8 or self.pixels.numel() == 0:
            return None
        return extremes(self.pixels)


class Images:
    """A sequence of images of any sizes.

    Build one with `from_comfy` or `from_bgr`; walk over it with `chunks`, which yields batches of
    equal size that fit a budget, so that mixed sizes are grouped rather than looped over.
    """

    def __init__(self, sources: Sequence[Tensor], bgr: bool) -> None:
        """`sources`: tensors `[B,H,W,3]`; use the named constructors, which check them."""
        #: `[B,H,W,3]` each.
        self.sources = tuple(sources)
        self.bgr = bgr
        self.sizes_hw: tuple[tuple[int, int], ...] = tuple(
            (source.shape[1], source.shape[2]) for source in sources for _ in range(len(source))
        )

    @classmethod
    def from_comfy(cls, images: Tensor | Sequence[Tensor]) -> Images:
        """Takes a ComfyUI IMAGE, or a list of them of different sizes.

        Args:
            images: `[B,H,W,C]` floating 0..1 or uint8 0..255, RGB; C is 1 (grey), 3, or 4 (alpha is
                ignored). Any device. B may be 0.

        Raises:
            InvalidInput: Not such a tensor.
        """
        sources = images if isinstance(images, (list, tuple)) else [images]
        return cls([_checked_comfy(source) for source in sources], bgr=False)

    @classmethod
    def from_bgr(cls, image: np.ndarray) -> Images:
        """Takes one image as OpenCV and InsightFace do.

        Args:
            image: `[H,W,3]` uint8 BGR; grey `[H,W]` and `[H,W,1]`, and BGRA, are taken too.

        Raises:
            InvalidInput: Not such an array.
        """
        pixels = torch.from_numpy(checked_bgr(image))
        return cls([_three_channels(pixels[None])], bgr=True)

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def batch(self, places: Sequence[int], device: torch.device) -> ImageBatch:
        """The images at these places, which must be of one size: `[B,H,W,3]` uint8 on a device."""
        firsts = [0, *accumulate(len(source) for source in self.sources)]
        pieces = []
        for place in places:
            source = bisect_right(firsts, place) - 1
            row = place - firsts[source]
            pieces.append(quantised(self.sources[source][row : row + 1]).to(device))
        pixels = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return ImageBatch(pixels, tuple(places), self.bgr)

    def check_values(self) -> None:
        """Refuses NaN, infinity and values far from 0..1; waits for the images' device once.

        Raises:
            InvalidInput: Names the images and the values.
        """
        known = []
        for batch in self.chunks():
            may_stop()
            limits = batch.extremes()
            if limits is not None:
                known.append((batch, limits))
        if known:
            values = torch.stack([limits for _, limits in known]).tolist()
            _refuse_values([(batch, *row) for (batch, _), row in zip(known, values, strict=True)])

    def chunks(
        self,
        max_images: int = 16,
        max_bytes: int | None = 256 << 20,
        wanted: Collection[int] | None = None,
    ) -> Iterator[ImageBatch]:
        """Batches of equal size and dtype.

        A batch that comes from one source is a view; single images of one size are stacked.

        Args:
            max_images: Most images of a batch.
            max_bytes: Most bytes of a batch of more than one image; None for no limit.
            wanted: Places of the images that are needed: batches without any are left out.
        """
        groups: dict[tuple, list[tuple[Tensor, int]]] = {}
        position = 0
        for source in self.sources:
            key = (source.shape[1:3], source.dtype, source.device)
            groups.setdefault(key, []).append((source, position))
            position += len(source)
        for group in groups.values():
            first = group[0][0]
            image_bytes = max(1, first.shape[1:].numel()) * first.element_size()
            limit = max_images if max_bytes is None else min(max_images, max_bytes // image_bytes)
            for pieces, positions in _chunks_of_one_size(group, max(1, limit)):
                if wanted is None or any(position in wanted for position in positions):
                    pixels = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
                    yield ImageBatch(pixels, tuple(positions), self.bgr)


def _chunks_of_one_size(
    group: list[tuple[Tensor, int]], limit: int
) -> Iterator[tuple[list[Tensor], list[int]]]:
    """Pieces of sources that make up to `limit` images together, and the places of these."""
    pieces: list[Tensor] = []
    positions: list[int] = []
    for source, first in group:
        start = 0
        while start < len(source):
            stop = min(len(source), start + limit - len(positions))
            pieces.append(source[start:stop])
            positions.extend(range(first + start, first + stop))
            start = stop
            if len(positions) == limit:
                yield pieces, positions
                pieces, positions = [], []
    if positions:
        yield pieces, positions


def checked_bgr(image: np.ndarray) -> np.ndarray:
    """The image that `Images.from_bgr` takes, as `[H,W,C]` in order; itself where it is that.

    Raises:
        InvalidInput: Not such an array.
    """
    if not isinstance(image, np.ndarray):
        hint = "; the file was probably not found or not readable" if image is None else ""
        raise InvalidInput(f"got {type(image).__name__}, expected a BGR uint8 numpy image{hint}")
    if image.dtype != np.uint8:
        raise InvalidInput(
            f"got a numpy image of dtype {image.dtype}, expected uint8 0..255; "
            "convert it with (image * 255).round().astype('uint8') if it is 0..1"
        )
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise InvalidInput(
            f"got a numpy image of shape {image.shape}, expected [height, width, 3] BGR"
        )
    return in_order(image)


def _checked_comfy(images: Any) -> Tensor:
    if not isinstance(images, Tensor):
        raise InvalidInput(f"got {type(images).__name__}, expected an IMAGE tensor [B,H,W,C]")
    if images.layout != torch.strided or images.device.type == "meta":
        raise InvalidInput(
            f"got a tensor of layout {images.layout} on {images.device}, expected an ordinary "
            "IMAGE tensor with pixels in it; use images.to_dense() for a sparse one"
        )
    if images.ndim != 4:
        raise InvalidInput(
            f"got a tensor of shape {tuple(images.shape)}, expected [B,H,W,C]{_rank_hint(images)}"
        )
    if images.shape[3] not in (1, 3, 4):
        hint = (
            "; this looks like [B,C,H,W]: use images.permute(0, 2, 3, 1)"
            if images.shape[1] in (1, 3, 4)
            else ""
        )
        raise InvalidInput(
            f"got {images.shape[3]} channels, expected 1, 3 or 4 in the last axis{hint}"
        )
    if len(images) and 0 in images.shape[1:3]:
        raise InvalidInput(
            f"got images of {images.shape[2]} x {images.shape[1]} pixels, expected at least 1 x 1; "
            "check the crop or resize before this node"
        )
    if images.dtype != torch.uint8 and images.dtype not in _FLOAT_DTYPES:
        raise InvalidInput(
            f"got images of dtype {images.dtype}, expected a floating type 0..1 or uint8 0..255"
        )
    return _three_channels(images.detach())


def _rank_hint(images: Tensor) -> str:
    if images.ndim != 3:
        return ""
    if images.shape[2] in (1, 3, 4):
        return "; this looks like one image [H,W,C]: add a batch axis with image[None]"
    return "; this looks like a MASK: convert it to an IMAGE first"


def _three_channels(images: Tensor) -> Tensor:
    channels = images.shape[3]
    return images.expand(-1, -1, -1, 3) if channels == 1 else images[..., :3]


def floating_rgb(images: Tensor) -> Tensor:
    """An IMAGE `[B,H,W,C]` as colours `[B,H,W,3]` floating 0..1, without alpha; a view if it can.

    Args:
        images: Floating 0..1 or uint8 0..255, on any device; C is 1 (grey), 3 or 4.
    """
    colours = _three_channels(images)
    return colours if colours.is_floating_point() else colours.float() / 255


def check_values(extremes: Sequence[tuple[ImageBatch, float, float]]) -> None:
    """Refuses images that hold NaN, infinity or values far from 0..1.

    Values a little outside 0..1, as upscalers and colour nodes leave them, are clamped when the
    pixels are sampled; that is said in one line of the log.

    Args:
        extremes: Batches with their smallest and largest value, as `ImageBatch.extremes` gives.

    Raises:
        InvalidInput: Names the images and the values.
    """
    _refuse_values(extremes)
    low = min((low for _, low, _ in extremes), default=0.0)
    high = max((high for _, _, high in extremes), default=1.0)
    if low < -1e-3 or high > 1.001:
        _log.warning("got images with values from %.4g to %.4g; clamped to 0..1", low, high)


def _refuse_values(extremes: Sequence[tuple[ImageBatch, float, float]]) -> None:
    for batch, low, high in extremes:
        if not math.isfinite(low) or not math.isfinite(high):
            raise InvalidInput(
                f"got NaN or infinite values in {_named(batch)}; find the node that makes them "
                "(often a VAE decode in fp16), or clean them with torch.nan_to_num"
            )
        if max(-low, high) > _LARGEST_SANE_VALUE:
            raise InvalidInput(
                f"got values from {low:.4g} to {high:.4g} in {_named(batch)}, expected 0..1; "
                "divide 0..255 data by 255, tone-map HDR data"
            )


def _named(batch: ImageBatch) -> str:
    numbers = ", ".join(map(str, batch.positions))
    return f"image {numbers}" if len(batch.positions) == 1 else f"one of the images {numbers}"
