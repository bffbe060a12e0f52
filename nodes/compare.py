"""`FastFaceCompare`: whether two groups of faces share a person."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils.draw import draw_matrix
from ..utils.embedding import cosine_similarities
from ..utils.faces import Faces
from .sockets import CATEGORY, FACES, require_faces, similarity_input


class FastFaceCompare:
    DISPLAY_NAME = "FastFace Compare"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Says how alike the faces of two groups are: the highest similarity, whether it is one "
        "person, and a picture of all pairs. Without a face in either there is no person in common."
    )
    FUNCTION = "compare"
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

    def compare(
        self, faces_a: Faces, faces_b: Faces, threshold: float = 0.3
    ) -> tuple[float, bool, Tensor]:
        pairs = cosine_similarities(require_faces(faces_a), require_faces(faces_b)).cpu()
        picture = torch.from_numpy(draw_matrix(pairs.numpy()).astype(np.float32) / 255)[None]
        if not pairs.numel():
            return 0.0, False, picture
        highest = float(pairs.max())
        return highest, highest >= threshold, picture


NODES = {"FastFaceCompare": FastFaceCompare}
