"""`FastFaceGallerySearch`: who is who, by a gallery of known people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.faces import Faces
from .detect import annotated_images
from .gallery_add import GALLERY_TOOLTIP, gallery_state, with_embeddings
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACES,
    FACES_INPUT,
    list_or_blocked,
    or_blocked,
    similarity_input,
)
from .texts import counted, faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.gallery.search import Match

UNKNOWN = "unknown"


class FastFaceGallerySearch:
    DISPLAY_NAME = "FastFace Gallery Search"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face recognition",
        "who is it",
        "identify faces",
        "face search",
        "name faces",
        "face database",
    )
    DESCRIPTION = (
        "Says who the faces are: for each the most similar people of a gallery, and nobody below "
        "the threshold. The names go on with the faces, into drawings and texts."
    )
    FUNCTION = "search"
    OUTPUT_NODE = True
    RETURN_TYPES = (FACES, "IMAGE", "STRING", "FLOAT", "STRING", "INT")
    RETURN_NAMES = ("faces", "annotated", "names", "similarities", "json", "known")
    OUTPUT_IS_LIST = (False, False, True, True, False, False)
    OUTPUT_TOOLTIPS = (
        "The faces with their embeddings and names; FastFace Mask draws and FastFace Info says "
        "the names.",
        "The images with the faces and their names drawn; on black where images is not connected.",
        "The name of each face, as a list; `unknown` where nobody is similar enough.",
        "The similarity (cosine, -1 to 1) of each face to the most similar person, as a list.",
        "For each face its image and place, and the most similar people with their similarities.",
        "How many faces are of known people.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "gallery": ("STRING", {"default": "my gallery", "tooltip": GALLERY_TOOLTIP}),
                "faces": (
                    FACES_INPUT,
                    {
                        "tooltip": "From FastFace Embed with which = all; or from FastFace Detect "
                        "or Select, with images and faceanalysis."
                    },
                ),
                "threshold": similarity_input(
                    "Lowest similarity (cosine, -1 to 1) to the most similar embedding of a "
                    "person; a face that is less similar to everybody is unknown."
                ),
                "top_k": (
                    "INT",
                    {
                        "default": 3,
                        "min": 1,
                        "max": 100,
                        "step": 1,
                        "tooltip": "Most people that json names for each face, those below the "
                        "threshold too.",
                    },
                ),
            },
            "optional": {
                "images": (
                    "IMAGE",
                    {
                        "tooltip": "Optional. The images of these faces: to draw on, and for faces "
                        "without embeddings."
                    },
                ),
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {
                        "tooltip": "For faces without embeddings. From FastFace Loader, with the "
                        "pack that the gallery was made with."
                    },
                ),
            },
        }

    @classmethod
    def IS_CHANGED(cls, gallery: Any = None, **_: Any) -> str:
        """ComfyUI runs the node again when the gallery is another; a linked name is left out."""
        return gallery_state(gallery)

    def search(
        self,
        gallery: str,
        faces: Faces,
        threshold: float = 0.3,
        top_k: int = 3,
        images: Tensor | None = None,
        faceanalysis: FaceAnalysis | None = None,
    ) -> dict[str, Any]:
        from ..utils.gallery.places import gallery_store
        from ..utils.gallery.search import index_of

        faces = with_embeddings(faces, images, faceanalysis)
        store = gallery_store(gallery)
        found = index_of(store).search(faces, top_k)
        names = [_name(matches, threshold) for matches in found]
        similarities = [matches[0].similarity if matches else -1.0 for matches in found]
        faces = faces.with_names(names)
        under = images
        if under is None:
            height, width = next(iter(faces.image_sizes), (0, 0))
            under = torch.zeros(len(faces.image_sizes), height, width, 3)
        drawn = annotated_images(under, faces)[1]
        known = sum(name is not None for name in names)
        people = counted(len(set(names) - {None}), "person", "people")
        text = f"{faces_in(faces)}: {known} known, of {people}"
        outputs = (
            *(faces, or_blocked(drawn)),
            list_or_blocked([name or UNKNOWN for name in names]),
            list_or_blocked([round(value, 6) for value in similarities]),
            *(_json(faces, names, found), known),
        )
        return with_text(text, *outputs)


def _name(matches: list[Match], threshold: float) -> str | None:
    return matches[0].name if matches and matches[0].similarity >= threshold else None


def _json(faces: Faces, names: list[str | None], found: list[list[Match]]) -> str:
    records: list[dict[str, Any]] = []
    seen: dict[int, int] = {}
    for image, name, matches in zip(faces.images_of_faces(), names, found, strict=True):
        place = seen.get(image, 0)
        seen[image] = place + 1
        like = [{"name": match.name, "similarity": round(match.similarity, 4)} for match in matches]
        records.append({"image": image, "face": place, "name": name, "matches": like})
    return json.dumps(records, ensure_ascii=False)


NODES = {"FastFaceGallerySearch": FastFaceGallerySearch}
