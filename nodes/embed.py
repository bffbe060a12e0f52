"""`FastFaceEmbed`: turns faces into identity vectors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils.choose import largest_of_each_image
from ..utils.embedding import mean_embedding
from ..utils.faces import Faces
from ..utils.progress import part
from .socket_checks import given_or_found
from .sockets import (
    CATEGORY,
    EMBEDDING,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    FACES,
    FACES_INPUT,
    FACES_TOOLTIP,
    image_input,
)
from .texts import faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")


class FastFaceEmbed:
    DISPLAY_NAME = "FastFace Embed"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "embedding",
        "face embedding",
        "ArcFace",
        "face recognition",
        "identity",
        "face id",
    )
    DESCRIPTION = (
        "Describes who is in the images: one identity vector a face, and the mean of them. "
        "Give several photos of one person to get a steadier mean."
    )
    FUNCTION = "embed"
    RETURN_TYPES = (FACES, EMBEDDING)
    RETURN_NAMES = ("faces", "mean_embedding")
    OUTPUT_TOOLTIPS = (
        "The faces that were described, with their embeddings as the network gave them.",
        "The mean of these embeddings, not normalised, with the name of the embedding space; "
        "empty if there was no face.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "images": image_input("Embeddings are computed from these pixels."),
                "which": (
                    ["largest", "all"],
                    {
                        "tooltip": "`largest` describes the face with the largest box of each "
                        "image, as InstantID does; `all` describes every face, so the mean mixes "
                        "all people in the images."
                    },
                ),
            },
            "optional": {"faces": (FACES_INPUT, {"tooltip": FACES_TOOLTIP})},
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def embed(
        self,
        faceanalysis: FaceAnalysis,
        images: Tensor,
        which: str = "largest",
        faces: Faces | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        with part(0.0, 0.5):
            checked, faces = given_or_found(faces, faceanalysis, images)
        if which == "largest":
            faces = faces[largest_of_each_image(faces)]
        with part(0.5, 1.0):
            faces = faceanalysis.describe(checked, faces, ("recognition",))
        text = f"embeddings of {faces_in(faces)}"
        if len(faces) == 0:
            text = f"{faces_in(faces)}: the mean embedding is empty"
            _log.warning(text)
        return with_text(text, faces, mean_embedding(faces))


NODES = {"FastFaceEmbed": FastFaceEmbed}
