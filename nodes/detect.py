"""`FastFaceDetect`: finds faces, draws them, and gives masks and boxes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pipeline.insightface_compat.facade import FaceAnalysis
from ..utils import host
from ..utils.box_formats import BBOX_FORMATS, whole_pixel_boxes
from ..utils.draw import annotate as draw_faces
from ..utils.faces import Faces
from ..utils.masks import MASK_SHAPES, face_masks
from ..utils.progress import advance, part
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    FACES,
    image_input,
    or_blocked,
    require_images,
    size_of,
)
from .texts import faces_in, with_text

_MOST_PREVIEWS = 4
#: Of the node's work, where faces are drawn too.
_DETECTION_SHARE = 0.6


class FastFaceDetect:
    DISPLAY_NAME = "FastFace Detect"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face detect",
        "face detection",
        "retinaface",
        "scrfd",
        "find faces",
        "face bbox",
        "face mask",
        "yolo face",
    )
    DESCRIPTION = (
        "Finds all faces in an image or a batch, and shows where they are. "
        "No face at all is a normal result: empty lists, black masks, count 0."
    )
    FUNCTION = "detect"
    OUTPUT_NODE = True
    RETURN_TYPES = (FACES, "IMAGE", "MASK", "BBOX", "INT")
    RETURN_NAMES = ("faces", "annotated", "mask", "bbox", "count")
    OUTPUT_TOOLTIPS = (
        "Boxes, scores and landmarks of all faces, and the image each belongs to.",
        "The images with boxes, landmarks, and number and score of each face (if annotate is on).",
        "One mask an image, 1 where a face is; hard edges.",
        "One flat list of whole-pixel boxes, in the order of the images and, within one, by score; "
        "cut off at the image's border.",
        "Number of faces in all images together.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "images": image_input(),
                "mask_shape": (
                    list(MASK_SHAPES),
                    {
                        "tooltip": "`ellipse` fills the ellipse inside each face's box, `box` the "
                        "whole box. Grow or blur it with the mask nodes of ComfyUI."
                    },
                ),
                "bbox_format": (
                    list(BBOX_FORMATS),
                    {
                        "tooltip": "What the four numbers of a bbox are, in pixels: `xywh` left, "
                        "top, width, height (KJNodes); `xyxy` left, top, right, bottom. MTB takes "
                        "single boxes: each_bbox of FastFace Mask."
                    },
                ),
                "annotate": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "On: draws the faces and previews the first images on the node. "
                        "Off: annotated is the input, unchanged and without a copy; choose it for "
                        "long videos. Switching it runs everything behind faces again: FastFace "
                        "Mask draws them without that.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def detect(
        self,
        faceanalysis: FaceAnalysis,
        images: Tensor,
        mask_shape: str = "ellipse",
        bbox_format: str = "xywh",
        annotate: bool = True,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        with part(0.0, _DETECTION_SHARE if annotate else 1.0):
            faces = faceanalysis.analyze(require_images(images))
        masks = face_masks(faces, size_of(images), mask_shape, images.device)
        boxes = whole_pixel_boxes(faces, bbox_format)
        drawn, annotated = [], images
        if annotate:
            with part(_DETECTION_SHARE, 1.0):
                drawn, annotated = annotated_images(images, faces)
        outputs = (faces, or_blocked(annotated), or_blocked(masks), boxes, len(faces))
        return with_text(faces_in(faces), *outputs, **host.preview(drawn))


def annotated_images(images: Tensor, faces: Faces) -> tuple[list[np.ndarray], Tensor]:
    """The pictures to show on the node, and all images `[B,H,W,3]` float32 with faces drawn."""
    faces = faces.to("cpu")
    result = torch.empty(*images.shape[:3], 3, dtype=torch.float32, device=images.device)
    previews = []
    for position, image in enumerate(images):
        pixels = image if images.dtype == torch.uint8 else image.float().mul(255).round()
        rgb = pixels[..., :3].clamp(0, 255).to("cpu", torch.uint8).expand(-1, -1, 3)
        picture = draw_faces(np.ascontiguousarray(rgb.numpy()), faces.of_image(position))
        result[position] = torch.tensor(picture, device=images.device).float() / 255
        if position < _MOST_PREVIEWS:
            previews.append(picture)
        advance((position + 1) / len(images))
    return previews, result


NODES = {"FastFaceDetect": FastFaceDetect}
