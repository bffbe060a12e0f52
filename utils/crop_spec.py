"""What networks look at to describe a face, and images of which nothing else is left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .align import arcface_template, centred_square, crop_faces, similarity_transform
from .devices import uploaded
from .errors import ModelError
from .faces import Faces
from .images import ImageBatch, Images


@dataclass(frozen=True)
class CropSpec:
    """The square of an image in which a network sees a face.

    Attributes:
        size: Side of the crop in pixels.
        expansion: Side of the square over the longer side of the face's box; None where the five
            landmarks say how the crop lies.
    """

    size: int
    expansion: float | None = None

    def matrices(self, faces: Faces, device: torch.device) -> Tensor:
        """`[N,2,3]` from source to crop pixels, on a device.

        Raises:
            ModelError: The faces have no landmarks to align by.
        """
        if self.expansion is not None:
            return centred_square(faces.boxes.to(device), self.size, self.expansion)
        if faces.landmarks is None:
            raise ModelError(
                "the detector of this pack gives no landmarks, so faces can't be aligned for "
                "recognition; choose a pack whose detector has them (its name ends in kps)"
            )
        target = arcface_template(self.size, device)
        return similarity_transform(faces.landmarks.to(device), target)

    def crop(self, images: CropSource, faces: Faces, matrices: Tensor) -> ImageBatch:
        """One crop `[size,size,3]` uint8 a face, on the device of its `matrices`."""
        if isinstance(images, PrecomputedCrops):
            return images.of(self, faces, matrices.device)
        return crop_faces(images, faces.images_of_faces(), matrices, self.size)


class PrecomputedCrops:
    """One image of which only the faces' crops are left, as certain networks see them."""

    def __init__(self, images: Images, faces: Faces, views: Collection[CropSpec]) -> None:
        """Cuts them, on the CPU, as `CropSpec.crop` does.

        Args:
            images: One image on the CPU.
            faces: Its faces, on the CPU.
            views: Whatever may be asked for later.
        """
        self.bgr = images.bgr
        self._rows = {row: number for number, row in enumerate(_names(faces))}
        cpu = torch.device("cpu")
        self._crops = {
            view: view.crop(images, faces, view.matrices(faces, cpu)).pixels for view in set(views)
        }

    def of(self, view: CropSpec, faces: Faces, device: torch.device) -> ImageBatch:
        """The crops of some of the faces, `[N,size,size,3]` uint8 on a device.

        Raises:
            ModelError: They were not cut as this view shows them.
        """
        if view not in self._crops:
            raise ModelError(
                f"of this image only crops of other networks are left, and {view} is none of them; "
                "analyse the image again"
            )
        rows = [self._rows[name] for name in _names(faces.to("cpu"))]
        return ImageBatch(
            uploaded(self._crops[view][rows], device), tuple(range(len(rows))), self.bgr
        )


#: What a head can take its crops from.
CropSource: TypeAlias = Images | PrecomputedCrops


def whole_images(images: CropSource) -> Images:
    """The images, for a network that reads all of them.

    Raises:
        ModelError: Only crops are left.
    """
    if isinstance(images, PrecomputedCrops):
        raise ModelError("of this image only crops are left; analyse the image again")
    return images


def bytes_of_crops(count: int, views: Collection[CropSpec]) -> int:
    """What `PrecomputedCrops` of so many faces take."""
    return count * sum(3 * view.size**2 for view in set(views))


def _names(faces: Faces) -> list[bytes]:
    """What tells the faces of one image apart: where they lie."""
    places = [faces.boxes] if faces.landmarks is None else [faces.boxes, faces.landmarks.flatten(1)]
    return [row.tobytes() for row in torch.cat(places, 1).numpy()]
