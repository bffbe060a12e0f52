"""`FastFacePerson`: the right person for every node that takes the loader's object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.choose import ORDERS
from ..utils.embedding import Embedding
from ..utils.errors import InvalidInput
from ..utils.person import KEPT, Person
from .sockets import (
    CATEGORY,
    EMBEDDING,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    INSIGHTFACE,
    similarity_input,
)
from .texts import with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis


class FastFacePerson:
    DISPLAY_NAME = "FastFace Person"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "person for InstantID",
        "which face",
        "choose person",
        "pick face",
        "face index",
        "group photo",
        "reference face",
        "PuLID face",
        "FaceID face",
    )
    DESCRIPTION = (
        "Chooses one person of each photo for InstantID, IPAdapter FaceID, PuLID and every other "
        "node that takes the loader's object: the n-th from the left, the one in a mask, the one "
        "of a reference photo."
    )
    FUNCTION = "choose"
    RETURN_TYPES = (FACE_ANALYSIS, INSIGHTFACE)
    RETURN_NAMES = ("faceanalysis", "insightface")
    OUTPUT_TOOLTIPS = (
        "The loader's object that sees this person, for InstantID, PuLID and the FastFace nodes.",
        "The same, for IPAdapter FaceID and other nodes with an insightface input.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "by": (
                    list(ORDERS),
                    {
                        "tooltip": "What puts a face first in its image. With a reference it is "
                        "the similarity to that, whatever is chosen here."
                    },
                ),
                "index": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 999,
                        "step": 1,
                        "tooltip": "The place of the wanted face in that order, counted from 0: "
                        "with `left to right` 1 is the second from the left. 0 for a reference.",
                    },
                ),
                "keep": (
                    list(KEPT),
                    {
                        "tooltip": "`only`: other nodes see this face alone, and none where "
                        "nobody fits. `first`: this face, then the others; where nobody fits, all "
                        "as usual. InstantID and PuLID take the largest face whatever comes "
                        "first: they need `only`."
                    },
                ),
                "threshold": similarity_input(
                    "Lowest similarity (cosine, -1 to 1) to the reference; less similar faces are "
                    "nobody. Only with a reference."
                ),
            },
            "optional": {
                "reference": (
                    EMBEDDING,
                    {
                        "tooltip": "Optional. Who is wanted: mean_embedding of FastFace Embed on "
                        "photos of the person, or FastFace Embedding Load. Of the same model pack."
                    },
                ),
                "mask": (
                    "MASK",
                    {
                        "tooltip": "Optional. Only faces whose centre lies where the mask is white "
                        "(0.5 or more). It is laid over each image, whatever their sizes in pixels."
                    },
                ),
            },
        }

    def choose(
        self,
        faceanalysis: FaceAnalysis,
        by: str = ORDERS[0],
        index: int = 0,
        keep: str = KEPT[0],
        threshold: float = 0.3,
        reference: Embedding | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Any]:
        if reference is not None:
            vector = reference.vector.detach().to("cpu", copy=True)
            reference = Embedding(vector, reference.space)
        within = None if mask is None else _one_mask(mask)
        person = Person(by, index, reference, threshold, within, keep)
        chosen = faceanalysis.for_person(person)
        text = f"{person}, {'alone' if keep == 'only' else 'before the others'}"
        if within is not None and not bool((within >= 0.5).any()):
            text += "\nthe mask is black: nobody fits"
        return with_text(text, chosen, chosen)


def _one_mask(mask: Tensor) -> Tensor:
    """A MASK as `[h,w]` on the CPU, in memory of its own.

    Raises:
        InvalidInput: There are several.
    """
    planes = mask.reshape(-1, *mask.shape[-2:])
    if len(planes) > 1:
        raise InvalidInput(
            f"got {len(planes)} masks, expected one: nodes ask for the faces of one image at a "
            "time and don't say which of a batch it is; give one mask for all images, or choose "
            "with FastFace Select"
        )
    return planes[0].detach().to("cpu", torch.float32, copy=True)


NODES = {"FastFacePerson": FastFacePerson}
