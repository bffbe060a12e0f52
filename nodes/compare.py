"""`FastFaceCompare`: whether two groups of faces share a person."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..utils.draw import draw_matrix
from ..utils.embedding import cosine_similarities
from ..utils.faces import Faces
from .sockets import CATEGORY, FACES, similarity_input
from .texts import faces_in, with_text


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
                "faces_a": (FACES, {"tooltip": "Faces with embeddings, from FastFace Embed."}),
                "faces_b": (
                    FACES,
                    {"tooltip": "Faces with embeddings, made with the same model pack."},
                ),
                "threshold": similarity_input(
                    "From which cosine on two faces are one person's. Strangers lie around 0; what "
                    "suits depends on the pack and the photos."
                ),
            }
        }

    def compare(self, faces_a: Faces, faces_b: Faces, threshold: float = 0.3) -> dict[str, Any]:
        pairs = cosine_similarities(faces_a, faces_b).cpu()
        picture = torch.from_numpy(draw_matrix(pairs.numpy()).astype(np.float32) / 255)[None]
        if not pairs.numel():
            text = f"no pair to compare: {faces_in(faces_a)} and {faces_in(faces_b)}"
            return with_text(text, 0.0, False, picture)
        highest = float(pairs.max())
        text = f"highest similarity {highest:.2f} of {pairs.numel()} pair(s)"
        return with_text(text, highest, highest >= threshold, picture)


NODES = {"FastFaceCompare": FastFaceCompare}
