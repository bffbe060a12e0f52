"""`FastFaceSelect`: the right face of each image."""

from __future__ import annotations

from typing import Any

from ..utils.choose import ORDERS, numbered, rank
from ..utils.embedding import Embedding, cosine_similarities
from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from .sockets import CATEGORY, EMBEDDING, FACES, similarity_input
from .texts import faces_in, with_text


class FastFaceSelect:
    DISPLAY_NAME = "FastFace Select"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Picks faces of each image of a batch: the largest, the best, the leftmost, the second "
        "from the left, the one that is most like a reference. No fitting face is a normal result."
    )
    FUNCTION = "select"
    RETURN_TYPES = (FACES, "INT", "BOOLEAN")
    RETURN_NAMES = ("faces", "count", "found")
    OUTPUT_TOOLTIPS = (
        "The picked faces, in the picked order within each image; for any faces input.",
        "Number of picked faces in all images together.",
        "Whether any face was picked.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faces": (FACES, {"tooltip": "From FastFace Detect or FastFace Embed."}),
                "by": (
                    list(ORDERS),
                    {
                        "tooltip": "What puts a face first within its image. `most similar` needs "
                        "reference, and faces from FastFace Embed with which = all."
                    },
                ),
                "index": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 999,
                        "step": 1,
                        "tooltip": "The place in that order of the first face taken of each image, "
                        "counted from 0.",
                    },
                ),
                "count": (
                    "INT",
                    {
                        "default": 1,
                        "min": 0,
                        "max": 999,
                        "step": 1,
                        "tooltip": "How many faces are taken of each image; 0 takes all from index "
                        "on.",
                    },
                ),
                "threshold": similarity_input(
                    "Lowest similarity (cosine, -1 to 1) to the reference; less similar faces are "
                    "left out. Only with a reference. -1 leaves none out."
                ),
            },
            "optional": {
                "reference": (
                    EMBEDDING,
                    {
                        "tooltip": "Who is looked for: mean_embedding of FastFace Embed on one or "
                        "several photos of the person."
                    },
                )
            },
        }

    def select(
        self,
        faces: Faces,
        by: str = "largest",
        index: int = 0,
        count: int = 1,
        threshold: float = 0.3,
        reference: Embedding | None = None,
    ) -> dict[str, Any]:
        similarity, remark = None, ""
        if reference is not None and not len(reference.vector):
            # Nobody is like nobody, whatever the threshold.
            faces, remark = faces[:0], "; there was no face in the photos of the reference"
            similarity = faces.scores
        elif reference is not None:
            similarity = cosine_similarities(faces, reference)[:, 0]
            like = similarity >= threshold
            faces, similarity = faces[like], similarity[like]
        elif by == "most similar":
            raise InvalidInput(
                "`most similar` needs a reference; connect mean_embedding of FastFace Embed"
            )
        picked = faces[numbered(faces, rank(faces, by, similarity), index, count)]
        text = f"picked {faces_in(picked)}{remark}"
        return with_text(text, picked, len(picked), len(picked) > 0)


NODES = {"FastFaceSelect": FastFaceSelect}
