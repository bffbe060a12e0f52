"""`FastFaceCompare`: whether two groups of faces share a person."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ..utils import host
from ..utils.align import centred_square
from ..utils.crops import cut
from ..utils.embedding import cosine_similarities
from ..utils.faces import Faces
from ..utils.images import floating_rgb, quantised
from ..utils.similarity_picture import PAIR_PX, Group, draw_matrix, shows_faces
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    FACES_INPUT,
    similarity_input,
)
from .texts import counted, faces_in, with_text

#: Side of what is shown of a face over the longer side of its box.
_EXPANSION = 1.3


class FastFaceCompare:
    DISPLAY_NAME = "FastFace Compare"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face similarity",
        "same person",
        "face distance",
        "compare faces",
        "face match",
    )
    DESCRIPTION = (
        "Says how alike the faces of two groups are: the highest similarity, whether it is one "
        "person, and a picture of all pairs. Without a face in either there is no person in common."
    )
    FUNCTION = "compare"
    OUTPUT_NODE = True
    RETURN_TYPES = ("FLOAT", "BOOLEAN", "IMAGE")
    RETURN_NAMES = ("similarity", "same_person", "matrix")
    OUTPUT_TOOLTIPS = (
        "The highest cosine of all pairs, -1 to 1; 0 without a pair.",
        "Whether it reaches the threshold.",
        "All cosines: a row for each face of the first group, a column for each of the second.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faces_a": (
                    FACES_INPUT,
                    {"tooltip": "Faces with embeddings, from FastFace Embed."},
                ),
                "faces_b": (
                    FACES_INPUT,
                    {"tooltip": "Faces with embeddings, made with the same model pack."},
                ),
                "threshold": similarity_input(
                    "From which cosine on two faces are one person's. Strangers lie around 0; what "
                    "suits depends on the pack and the photos."
                ),
            },
            "optional": {
                "images_a": (
                    "IMAGE",
                    {"tooltip": "Optional. The images of faces_a, to show these faces."},
                ),
                "images_b": (
                    "IMAGE",
                    {"tooltip": "Optional. The images of faces_b, to show these faces."},
                ),
            },
        }

    def compare(
        self,
        faces_a: Faces,
        faces_b: Faces,
        threshold: float = 0.3,
        images_a: Tensor | None = None,
        images_b: Tensor | None = None,
    ) -> dict[str, Any]:
        pairs = cosine_similarities(faces_a, faces_b).cpu()
        sides = ("A", faces_a, images_a), ("B", faces_b, images_b)
        with_faces = shows_faces(*pairs.shape)
        rows, columns = (_group(*side, with_faces) for side in sides)
        drawn = draw_matrix(pairs.numpy(), rows, columns)
        shown = host.preview([drawn])
        picture = torch.from_numpy(drawn).float()[None] / 255
        if not pairs.numel():
            text = f"no pair to compare: {faces_in(faces_a)} and {faces_in(faces_b)}"
            return with_text(text, 0.0, False, picture, **shown)
        row, column = divmod(int(pairs.argmax()), pairs.shape[1])
        highest = float(pairs[row, column])
        text = (
            f"{rows.labels[row]} and {columns.labels[column]} are the most alike of "
            f"{counted(pairs.numel(), 'pair')}: {highest:.2f}"
        )
        return with_text(text, highest, highest >= threshold, picture, **shown)


def _group(name: str, faces: Faces, images: Tensor | None, with_crops: bool) -> Group:
    """Faces with the numbers that they have in an annotated picture, and the image before it."""
    numbers = Counter[int]()
    labels = []
    for image in faces.images_of_faces():
        number = f"{numbers[image]}"
        labels.append(f"{name} {number if len(faces.image_sizes) < 2 else f'{image}:{number}'}")
        numbers[image] += 1
    if images is None:
        return Group(labels)
    faces = faces_of(faces, images)[1].to(images.device)
    if not with_crops or not len(faces):
        return Group(labels)
    matrices = centred_square(faces.boxes, PAIR_PX, _EXPANSION)
    crops = cut(floating_rgb(images), faces.images_of_faces(), matrices, PAIR_PX).pixels
    return Group(labels, quantised(crops).cpu().numpy())


NODES = {"FastFaceCompare": FastFaceCompare}
