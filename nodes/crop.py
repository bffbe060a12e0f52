"""`FastFaceCrop` and `FastFacePaste`: faces cut out, and put back after they were edited."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils.align import arcface_template, centred_square, similarity_transform
from ..utils.crops import CropBatch, cut, paste
from ..utils.errors import InvalidInput, ModelError
from ..utils.faces import Faces
from ..utils.images import floating_rgb
from .socket_checks import faces_of, readable_images
from .sockets import (
    CATEGORY,
    CROPS,
    image_input,
    images_with_faces,
    list_or_blocked,
    or_blocked,
    size_of,
)
from .texts import counted, faces_in, with_text

SHAPES = ("square", "aligned 112", "aligned 224", "aligned 256", "aligned 512")


class FastFaceCrop:
    DISPLAY_NAME = "FastFace Crop"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "crop face",
        "align face",
        "face cutout",
        "extract face",
    )
    DESCRIPTION = (
        "Cuts out faces: upright squares around the boxes, or aligned as face recognition and "
        "face restoration want them. FastFace Paste puts them back."
    )
    FUNCTION = "crop"
    RETURN_TYPES = ("IMAGE", CROPS, "INT", "INT")
    RETURN_NAMES = ("crops", "origin", "count", "image_indices")
    OUTPUT_IS_LIST = (False, False, False, True)
    OUTPUT_TOOLTIPS = (
        "One square image a face; nodes behind it don't run when there is none.",
        "Where each crop comes from, for FastFace Paste.",
        "Number of crops.",
        "For each crop the place of its image in the batch, counted from 0, as a list; nodes "
        "behind it don't run when there is none.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **images_with_faces(),
                "shape": (
                    list(SHAPES),
                    {
                        "tooltip": "`square` is the padded square around the box, not turned. "
                        "`aligned` turns and scales the face so that eyes and mouth come to "
                        "ArcFace's places in 112, 224, 256 or 512 pixels; size and padding are "
                        "ignored then."
                    },
                ),
                "size": (
                    "INT",
                    {
                        "default": 512,
                        "min": 16,
                        "max": 4096,
                        "step": 8,
                        "tooltip": "Side of the crops in pixels. Only with shape `square`.",
                    },
                ),
                "padding": (
                    "FLOAT",
                    {
                        "default": 0.5,
                        "min": 0.0,
                        "max": 4.0,
                        "step": 0.05,
                        "tooltip": "Room around the box, as a share of its longer side, both ends "
                        "together: 0.5 makes the square 1.5 times as long. Only with `square`.",
                    },
                ),
            }
        }

    def crop(
        self,
        images: Tensor,
        faces: Faces,
        shape: str = "square",
        size: int = 512,
        padding: float = 0.5,
    ) -> dict[str, Any]:
        faces = faces_of(faces, images)[1].to(images.device)
        if shape == "square":
            # Boxes are laid out by the edges of pixels, warps by their centres.
            matrices = centred_square(faces.boxes, size, 1 + padding)
            matrices[:, :, 2] += (matrices[:, 0, 0, None] - 1) / 2
        else:
            if faces.landmarks is None:
                raise ModelError(
                    f"got shape {shape!r}, but the detector of this model pack gives no landmarks; "
                    "choose `square`, or a pack such as antelopev2 or buffalo_l"
                )
            size = int(shape.partition(" ")[2])
            matrices = similarity_transform(faces.landmarks, arcface_template(size, images.device))
        crops = cut(floating_rgb(images), faces.images_of_faces(), matrices, size)
        text = f"crops of {faces_in(faces)}"
        if not len(crops):
            text = f"{faces_in(faces)}: nothing goes on behind crops"
        of_image = list_or_blocked(list(crops.image_of_crop))
        return with_text(text, or_blocked(crops.pixels), crops, len(crops), of_image)


class FastFacePaste:
    DISPLAY_NAME = "FastFace Paste"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "paste face",
        "uncrop face",
        "put face back",
        "composite face",
    )
    DESCRIPTION = (
        "Puts edited crops of FastFace Crop back to where they were cut, with a soft edge. Where "
        "a crop was not changed, the image stays as it is."
    )
    FUNCTION = "paste"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("images", "mask")
    OUTPUT_TOOLTIPS = (
        "The images with the crops in them.",
        "One mask an image: 1 where a crop lies, fading to 0 at its edge.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": image_input("The images that were cut, or edited ones of their size."),
                "crops": (
                    "IMAGE",
                    {
                        "lazy": True,
                        "tooltip": "The edited crops, in their order. They may be larger or "
                        "smaller than FastFace Crop gave them, such as after an upscaler. Not "
                        "asked for when there was no face.",
                    },
                ),
                "origin": (CROPS, {"tooltip": "From the same FastFace Crop."}),
                "feather": (
                    "FLOAT",
                    {
                        "default": 0.1,
                        "min": 0.0,
                        "max": 0.5,
                        "step": 0.01,
                        "tooltip": "Width of the soft edge as a share of the crop's side. 0 is a "
                        "hard edge.",
                    },
                ),
            }
        }

    def check_lazy_status(
        self, origin: CropBatch | None = None, crops: Tensor | None = None, **_inputs: Any
    ) -> list[str]:
        """The inputs that ComfyUI must still work out: no crops where there was no face.

        Nothing runs behind the crops of FastFace Crop then, so that this node would not either.
        """
        nothing_cut = isinstance(origin, CropBatch) and not len(origin)
        return [] if nothing_cut or crops is not None else ["crops"]

    def paste(
        self,
        images: Tensor,
        crops: Tensor | None,
        origin: CropBatch,
        feather: float = 0.1,
    ) -> dict[str, Any]:
        sizes = readable_images(images).sizes_hw
        if sizes != origin.image_sizes:
            raise InvalidInput(
                f"got {len(sizes)} image(s) of height and width {size_of(images)}, but the crops "
                f"were cut from {len(origin.image_sizes)} of {origin.image_sizes[:1]}; connect the "
                "images that FastFace Crop was given"
            )
        if not len(origin):
            text = f"no face in {counted(len(sizes), 'image')}: the images are passed through"
            pasted = images
            masks = torch.zeros(images.shape[:3], dtype=torch.float32, device=images.device)
        elif crops is None:
            raise InvalidInput(
                f"got no crops, expected {len(origin)}; connect the edited crops of FastFace Crop"
            )
        else:
            readable_images(crops, "crops")
            text = f"pasted {counted(len(origin), 'crop')}"
            pasted, masks = paste(floating_rgb(images), origin, floating_rgb(crops), feather)
        return with_text(text, or_blocked(pasted), or_blocked(masks))


NODES = {"FastFaceCrop": FastFaceCrop, "FastFacePaste": FastFacePaste}
