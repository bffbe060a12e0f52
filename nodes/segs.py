"""`FastFaceSEGS`: faces as the SEGS of Impact Pack."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..utils.faces import Faces
from ..utils.images import floating_rgb
from ..utils.masks import MASK_SHAPES
from ..utils.progress import advance
from ..utils.segs import segs_of_image
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    images_with_faces,
    list_or_blocked,
)
from .texts import counted, faces_in, with_text


class FastFaceSEGS:
    DISPLAY_NAME = "FastFace to SEGS"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "impact pack",
        "detailer",
        "SEGS",
        "face detailer",
    )
    DESCRIPTION = (
        "Gives faces to the nodes of Impact Pack, such as its Detailer (SEGS): one SEGS an image. "
        "An image without a face gives an empty SEGS, which Impact Pack leaves as it is."
    )
    FUNCTION = "convert"
    RETURN_TYPES = ("SEGS", "IMAGE")
    RETURN_NAMES = ("segs", "image")
    OUTPUT_IS_LIST = (True, True)
    OUTPUT_TOOLTIPS = (
        "One SEGS an image, as a list: the nodes behind run once for each image.",
        "The images one by one, as a list, to go with segs.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **images_with_faces(),
                "mask_shape": (
                    list(MASK_SHAPES),
                    {
                        "tooltip": "What of the crop a detailer may change: the `ellipse` inside "
                        "each face's box, or the whole `box`."
                    },
                ),
                "crop_factor": (
                    "FLOAT",
                    {
                        "default": 3.0,
                        "min": 1.0,
                        "max": 100.0,
                        "step": 0.1,
                        "tooltip": "How much of the surroundings a detailer sees: sides of the "
                        "crop over those of the face's box. It ends at the image's border.",
                    },
                ),
                "drop_size": (
                    "INT",
                    {
                        "default": 10,
                        "min": 0,
                        "max": 8192,
                        "step": 1,
                        "tooltip": "Faces whose box is not wider and higher than this, in pixels, "
                        "are left out.",
                    },
                ),
            }
        }

    def convert(
        self,
        images: Tensor,
        faces: Faces,
        mask_shape: str = "ellipse",
        crop_factor: float = 3.0,
        drop_size: int = 10,
    ) -> dict[str, Any]:
        faces = faces_of(faces, images)[1].to("cpu")
        colours = floating_rgb(images)
        single = [colours[place : place + 1] for place in range(len(images))]
        segs = []
        for place, image in enumerate(single):
            advance(place / len(single))
            of_image = faces.of_image(place)
            segs.append(segs_of_image(image, of_image, mask_shape, crop_factor, drop_size))
        made = sum(len(found) for _, found in segs)
        text = f"{faces_in(faces)}: {counted(made, 'SEG')}"
        return with_text(text, list_or_blocked(segs), list_or_blocked(single))


NODES = {"FastFaceSEGS": FastFaceSEGS}
