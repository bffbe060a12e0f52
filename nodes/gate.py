"""`FastFaceGate`: images with a face go on, the others go elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils import host
from ..utils.faces import Faces
from ..utils.images import Images
from .sockets import CATEGORY, FACES, images_with_faces, require_faces_of


class FastFaceGate:
    DISPLAY_NAME = "FastFace Gate"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Parts a batch into images with and without a face, so that one image without a face does "
        "not stop the others. What lies behind an empty output is left out, with no error."
    )
    FUNCTION = "part"
    RETURN_TYPES = ("IMAGE", "IMAGE", FACES, "BOOLEAN", "INT")
    RETURN_NAMES = ("with_faces", "without_faces", "faces", "has_face", "indices")
    OUTPUT_IS_LIST = (False, False, False, False, True)
    OUTPUT_TOOLTIPS = (
        "The images with a face, in their order; nodes behind it don't run when there is none.",
        "The images without a face; nodes behind it don't run when there is none.",
        "The faces, now of the images of with_faces.",
        "Whether any image has a face.",
        "The places of the images with a face in the batch, counted from 0, as a list.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **images_with_faces(),
            }
        }

    def part(self, images: Tensor, faces: Faces) -> tuple[Any, Any, Faces, bool, list[int]]:
        faces = require_faces_of(faces, Images.from_comfy(images))
        there = sorted(set(faces.images_of_faces()))
        absent = sorted(set(range(len(images))) - set(there))
        return (
            _images_at(images, there),
            _images_at(images, absent),
            faces.of_images(there),
            bool(there),
            there,
        )


def _images_at(images: Tensor, places: list[int]) -> Any:
    if len(places) == len(images):
        return images
    chosen = images[torch.tensor(places, dtype=torch.int64, device=images.device)]
    return chosen if places else host.blocked(chosen)


NODES = {"FastFaceGate": FastFaceGate}
