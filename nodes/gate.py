"""`FastFaceGate`: images with a face go on, the others go elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils.faces import Faces
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    FACES,
    images_with_faces,
    list_or_blocked,
    or_blocked,
)
from .texts import counted, places, with_text


class FastFaceGate:
    DISPLAY_NAME = "FastFace Gate"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "has face",
        "skip without face",
        "no face",
        "filter images",
        "split batch",
    )
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
        "The places of the images with a face in the batch, counted from 0, as a list; nodes "
        "behind it don't run when there is none.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **images_with_faces(),
            }
        }

    def part(self, images: Tensor, faces: Faces) -> dict[str, Any]:
        _, faces = faces_of(faces, images)
        there = sorted(set(faces.images_of_faces()))
        absent = sorted(set(range(len(images))) - set(there))
        return with_text(
            _what_went_where(there, absent),
            or_blocked(_images_at(images, there)),
            or_blocked(_images_at(images, absent)),
            faces.of_images(there),
            bool(there),
            list_or_blocked(there),
        )


def _images_at(images: Tensor, positions: list[int]) -> Tensor:
    if len(positions) == len(images):
        return images
    return images[torch.tensor(positions, dtype=torch.int64, device=images.device)]


def _what_went_where(there: list[int], absent: list[int]) -> str:
    total = counted(len(there) + len(absent), "image")
    if not there:
        return f"no face in {total}: nothing goes on behind with_faces"
    if not absent:
        return f"a face in all of {total}: nothing goes on behind without_faces"
    return f"{len(there)} of {total} have a face; left out: {places(absent)}"


NODES = {"FastFaceGate": FastFaceGate}
