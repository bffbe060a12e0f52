"""`FastFaceMask`: masks, boxes and an annotated picture of faces, after Select too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.box_formats import BBOX_FORMATS, bounding_boxes, single_boxes, whole_pixel_boxes
from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from ..utils.progress import part
from ..utils.soft_masks import SHAPES, shaped_masks
from .detect import annotated_images
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACES_INPUT,
    list_or_blocked,
    or_blocked,
)
from .texts import faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.packs import Task

_OUTLINE_TASK: Task = "landmark_2d_106"


class FastFaceMask:
    DISPLAY_NAME = "FastFace Mask"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face mask",
        "face bounding box",
        "inpaint face",
        "face outline",
        "BOUNDING_BOX",
    )
    DESCRIPTION = (
        "Masks, boxes and an annotated picture of the faces that it is given, such as those that "
        "FastFace Select picked: an ellipse, a box, or the outline of each face."
    )
    FUNCTION = "make"
    RETURN_TYPES = ("MASK", "BBOX", "BOUNDING_BOX", "IMAGE", "BBOX")
    RETURN_NAMES = ("mask", "bbox", "bounding_box", "annotated", "each_bbox")
    OUTPUT_IS_LIST = (False, False, False, False, True)
    OUTPUT_TOOLTIPS = (
        "One mask an image, 1 where a face is, black where none is.",
        "One flat list of whole-pixel boxes, in the order of the images and of the faces.",
        "ComfyUI's own boxes, a list for each image, with label and score.",
        "The images with the faces drawn; on black where images is not connected.",
        "One box a face, x, y, width, height, for nodes whose BBOX is a single box, as MTB's: they "
        "run once for each.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faces": (FACES_INPUT, {"tooltip": "From FastFace Detect, Select, Embed or Gate."}),
                "shape": (
                    list(SHAPES),
                    {
                        "tooltip": "`ellipse` inside each face's box, the whole `box`, or the "
                        "`outline` from eyebrows to chin. The outline needs faceanalysis and "
                        "images, and a model pack with landmark_2d_106."
                    },
                ),
                "grow": (
                    "INT",
                    {
                        "default": 0,
                        "min": -4096,
                        "max": 4096,
                        "step": 1,
                        "tooltip": "How far the edge is moved outwards, in pixels; inwards below "
                        "0.",
                    },
                ),
                "blur": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 512.0,
                        "step": 0.5,
                        "tooltip": "How soft the edge is: standard deviation of a Gaussian blur, "
                        "in pixels. 0 leaves it hard.",
                    },
                ),
                "bbox_format": (
                    list(BBOX_FORMATS),
                    {
                        "tooltip": "What the four numbers of a bbox are, in pixels: `xywh` left, "
                        "top, width, height; `xyxy` left, top, right, bottom."
                    },
                ),
            },
            "optional": {
                "images": (
                    "IMAGE",
                    {"tooltip": "Optional. The images of these faces, to draw the faces on."},
                ),
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {"tooltip": "Optional, for the outline. From FastFace Loader."},
                ),
            },
        }

    def make(
        self,
        faces: Faces,
        shape: str = "ellipse",
        grow: int = 0,
        blur: float = 0.0,
        bbox_format: str = "xywh",
        images: Tensor | None = None,
        faceanalysis: FaceAnalysis | None = None,
    ) -> dict[str, Any]:
        size_hw = _common_size(faces)
        if images is not None:
            checked, faces = faces_of(faces, images)
            if shape == "outline" and faces.landmarks_106 is None and faceanalysis is not None:
                with part(0.0, 0.5):
                    faces = faceanalysis.describe(checked, faces, (_OUTLINE_TASK,))
        device = faces.device if images is None else images.device
        masks = shaped_masks(faces, size_hw, shape, grow, blur, device)
        under = torch.zeros(*masks.shape, 3, dtype=torch.float32) if images is None else images
        with part(0.5, 1.0):
            drawn = annotated_images(under, faces)[1]
        outputs = (whole_pixel_boxes(faces, bbox_format), bounding_boxes(faces))
        each = list_or_blocked(single_boxes(faces))
        return with_text(faces_in(faces), or_blocked(masks), *outputs, or_blocked(drawn), each)


def _common_size(faces: Faces) -> tuple[int, int]:
    """Height and width of all images of the faces.

    Raises:
        InvalidInput: They differ.
    """
    sizes = set(faces.image_sizes)
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise InvalidInput(
            f"got faces of images of {len(sizes)} sizes ({shown}), expected one size: masks of a "
            "batch are equally large; give each size to a node of its own"
        )
    return next(iter(sizes), (0, 0))


NODES = {"FastFaceMask": FastFaceMask}
