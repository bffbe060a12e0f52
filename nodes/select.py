"""`FastFaceSelect`: the right face of each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils.choose import ORDERS, SEXES, at_places, numbered, of_sex_and_age, rank
from ..utils.embedding import Embedding, cosine_similarities
from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from ..utils.text import quoted
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    EMBEDDING,
    FACE_ANALYSIS,
    FACES,
    FACES_INPUT,
    similarity_input,
)
from .texts import faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.packs import Task

_AGE_TASK: Task = "genderage"


class FastFaceSelect:
    DISPLAY_NAME = "FastFace Select"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "pick face",
        "choose face",
        "largest face",
        "filter faces",
        "person by reference",
        "gender",
        "age",
    )
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
                "faces": (FACES_INPUT, {"tooltip": "From FastFace Detect or FastFace Embed."}),
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
                ),
                "places": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Several places in the order at once, divided by commas and "
                        "counted from 0, such as 0,2. Takes the place of index and count.",
                    },
                ),
                "sex": (
                    list(SEXES),
                    {
                        "tooltip": "Only faces of this sex, as a small network guesses it. Needs "
                        "images and faceanalysis."
                    },
                ),
                "min_age": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 120,
                        "step": 1,
                        "tooltip": "Lowest age in years, as a small network guesses it; 0 is no "
                        "limit. Needs images and faceanalysis.",
                    },
                ),
                "max_age": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 120,
                        "step": 1,
                        "tooltip": "Highest age in years; 0 is no limit. Needs images and "
                        "faceanalysis.",
                    },
                ),
                "images": ("IMAGE", {"tooltip": "For sex and age: the images of these faces."}),
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {"tooltip": "For sex and age. From FastFace Loader."},
                ),
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
        places: str | None = None,
        sex: str | None = None,
        min_age: int | None = None,
        max_age: int | None = None,
        images: Tensor | None = None,
        faceanalysis: FaceAnalysis | None = None,
    ) -> dict[str, Any]:
        checked = None
        if images is not None:
            checked, faces = faces_of(faces, images)
        if (sex or "any") != "any" or min_age or max_age:
            if checked is not None and faceanalysis is not None and faces.age is None:
                faces = faceanalysis.describe(checked, faces, (_AGE_TASK,))
            faces = of_sex_and_age(faces, sex or "any", min_age or 0, max_age or 0)
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
        ranked = rank(faces, by, similarity)
        chosen = _parsed(places or "")
        rows = at_places(faces, ranked, chosen) if chosen else numbered(faces, ranked, index, count)
        picked = faces[rows]
        text = f"picked {faces_in(picked)}{remark}"
        return with_text(text, picked, len(picked), len(picked) > 0)


def _parsed(places: str) -> list[int]:
    """Places in the order; empty where none are named.

    Raises:
        InvalidInput: It is no list of places.
    """
    parts = [part.strip() for part in places.split(",") if part.strip()]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise InvalidInput(
            f"got places {quoted(places)}, expected whole numbers from 0 divided by commas, such "
            "as 0,2; or nothing, and index and count decide"
        )
    return list(dict.fromkeys(int(part) for part in parts))


NODES = {"FastFaceSelect": FastFaceSelect}
