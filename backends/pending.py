"""What a detector found, before the host knows how much it is: one read of the device for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..utils.detectors.family import Candidates
from ..utils.errors import ModelError
from ..utils.faces import Faces

#: Coordinates from here on are no places in an image, nor near one.
_MOST_PX = 1 << 20


@runtime_checkable
class Pending(Protocol):
    """Faces that are still being worked out on a device."""

    @property
    def host_values(self) -> Tensor:
        """`[n]` float32 on the device: what the host must know before the faces can be given."""
        ...

    def resolve(self, host_values: Sequence[float]) -> Faces | None:
        """The faces, once `host_values` has been read; None when they have to be detected again."""
        ...


@dataclass(frozen=True)
class PaddedFaces:
    """Candidates of a batch after suppression, padded to equal numbers.

    How many faces there are is known only where they were found. Asking would make the host wait
    for every batch; so it is asked for all batches at once, when all are queued.

    Attributes:
        candidates: The best anchors of each image.
        order: `[B,K]` int64, their rows best first.
        keep: `[B,K]` bool, in that order, which of them are faces.
        complete: A bool on the device: there were no more candidates than K, and nothing is left to
            suppress.
        image_sizes: `(height, width)` of each image.
        file: Of the network, for errors.
        look_wider: Called when it was not complete, before the images are detected again.
    """

    candidates: Candidates
    order: Tensor
    keep: Tensor
    complete: Tensor
    image_sizes: tuple[tuple[int, int], ...]
    file: Path
    look_wider: Callable[[], None]

    @property
    def host_values(self) -> Tensor:
        """Faces of each image, then whether they are complete, and whether their places are any."""
        return torch.cat((self.keep.sum(1), self.complete[None], self._is_sane()[None])).float()

    def resolve(self, host_values: Sequence[float]) -> Faces | None:
        """See `Pending.resolve`; waits for nothing.

        Raises:
            ModelError: The network gave boxes or landmarks that are no places in an image.
        """
        *numbers, is_complete, is_sane = host_values
        if not is_sane:
            raise ModelError(
                f"{self.file} gave boxes or landmarks that are NaN, infinite or millions of pixels "
                "away; where it runs in fp16, choose precision fp32, else it is damaged: delete it "
                "and download its pack again"
            )
        if not is_complete:
            self.look_wider()
            return None
        counts = [int(count) for count in numbers]
        place = self._places(sum(counts))
        image_index = place // max(1, self.order.shape[1])
        rows = self.order.flatten()[place]
        found = self.candidates
        return Faces(
            boxes=found.boxes[image_index, rows],
            scores=found.scores[image_index, rows],
            image_index=image_index,
            image_sizes=self.image_sizes,
            landmarks=None if found.landmarks is None else found.landmarks[image_index, rows],
            image_list=tuple(image for image, count in enumerate(counts) for _ in range(count)),
        )

    def _is_sane(self) -> Tensor:
        """A bool on the device: candidates are where a face could be."""
        found = self.candidates
        # A comparison that NaN fails, too. What only fills the rows may be anything.
        sane = ((found.boxes.abs() < _MOST_PX).all(-1) | ~found.present).all()
        if found.landmarks is not None:
            near = (found.landmarks.abs() < _MOST_PX).flatten(2).all(-1)
            sane = sane & (near | ~found.present).all()
        return sane

    def _places(self, faces: int) -> Tensor:
        """Where in the flat rows the faces are, `[faces]`: `nonzero` of a number known before."""
        keep = self.keep.flatten()
        target = torch.where(keep, keep.cumsum(0) - 1, faces)
        places = torch.arange(len(keep), device=keep.device)
        return places.new_zeros(faces + 1).scatter_(0, target, places)[:faces]


def read_together(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The values of `[n]` float32 tensors on one device, in one read of it."""
    if not tensors:
        return []
    values = torch.cat(list(tensors)).tolist()
    parts = []
    for tensor in tensors:
        parts.append(values[: len(tensor)])
        values = values[len(tensor) :]
    return parts
