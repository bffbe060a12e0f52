"""`FastFaceCrop` and `FastFacePaste`: faces cut out, and put back after they were edited."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..utils.align import arcface_template, centred_square, similarity_transform
from ..utils.crops import FaceCrops, cut, paste
from ..utils.errors import InvalidInput, ModelError
from ..utils.faces import Faces
from ..utils.images import Images
from .sockets import CATEGORY, CROPS, image_input, images_with_faces, require_faces_of, size_of

SHAPES = ("square", "aligned 112", "aligned 224", "aligned 256", "aligned 512")


class FastFaceCrop:
    DISPLAY_NAME = "FastFace Crop"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Cuts out faces: upright squares around the boxes, or aligned as face recognition and "
        "face restoration want them. FastFace Paste puts them back."
    )
    FUNCTION = "crop"
    RETURN_TYPES = ("IMAGE", CROPS, "INT")
    RETURN_NAMES = ("crops", "origin", "count")
    OUTPUT_TOOLTIPS = (
        "One square image a face; an empty batch when there is none.",
        "Where each crop comes from, for FastFace Paste.",
        "Number of crops.",
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
    ) -> tuple[Tensor, FaceCrops, int]:
        faces = require_faces_of(faces, Images.from_comfy(images)).to(images.device)
        if shape == "square":
            # Boxes are laid out by the edges of pixels, warps by their centres.
            matrices = centred_square(faces.boxes, size, 1 + padding)
            matrices[:, :, 2] += (matrices[:, 0, 0, None] - 1) / 2
        elif shape in SHAPES:
            if faces.landmarks is None:
                raise ModelError(
                    f"got shape {shape!r}, but the detector of this model pack gives no landmarks; "
                    "choose `square`, or a pack such as antelopev2 or buffalo_l"
                )
            size = int(shape.partition(" ")[2])
            matrices = similarity_transform(faces.landmarks, arcface_template(size, images.device))
        else:
            raise InvalidInput(f"got shape {shape!r}, expected one of {', '.join(SHAPES)}")
        crops = cut(_floating(images), faces.images_of_faces(), matrices, size)
        return crops.pixels, crops, len(crops)


class FastFacePaste:
    DISPLAY_NAME = "FastFace Paste"
    CATEGORY = CATEGORY
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
                        "tooltip": "The edited crops, in their order. They may be larger or "
                        "smaller than FastFace Crop gave them, such as after an upscaler."
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

    def paste(
        self, images: Tensor, crops: Tensor, origin: FaceCrops, feather: float = 0.1
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(origin, FaceCrops):
            raise InvalidInput(
                f"got {type(origin).__name__} on the origin input, expected that of FastFace Crop"
            )
        sizes = Images.from_comfy(images).sizes_hw
        if sizes != origin.image_sizes:
            raise InvalidInput(
                f"got {len(sizes)} image(s) of height and width {size_of(images)}, but the crops "
                f"were cut from {len(origin.image_sizes)} of {origin.image_sizes[:1]}; connect the "
                "images that FastFace Crop was given"
            )
        return paste(_floating(images), origin, crops, feather)


def _floating(images: Tensor) -> Tensor:
    """`[B,H,W,3]` floating 0..1 without alpha."""
    colours = images.expand(-1, -1, -1, 3) if images.shape[3] == 1 else images[..., :3]
    return colours if colours.is_floating_point() else colours.float() / 255


NODES = {"FastFaceCrop": FastFaceCrop, "FastFacePaste": FastFacePaste}
