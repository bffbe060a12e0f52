"""`FastFaceDetect`: finds faces, draws them, and gives masks and boxes of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..utils import host
from ..utils.box_formats import (
    BBOX_FORMATS,
    Corners,
    bounding_boxes,
    for_images,
    frames_of_boxes,
    whole_pixel_boxes,
)
from ..utils.draw import annotate as draw_faces
from ..utils.errors import InvalidInput
from ..utils.face_landmarks import face_landmarks as made_face_landmarks
from ..utils.face_landmarks import frames_of_landmarks
from ..utils.faces import Faces
from ..utils.masks import MASK_SHAPES, face_masks
from ..utils.progress import advance, part
from .socket_checks import readable_images, require_images
from .sockets import (
    BOUNDING_BOX,
    CATEGORY,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    FACE_LANDMARKS,
    FACES,
    image_input,
    or_blocked,
    size_of,
)
from .texts import counted, faces_in, places, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.packs import Task

_log = logging.getLogger("FastFace")

#: What `face_landmarks` may hold.
LANDMARKS = ("5 points", "68 points")
_68_TASK: Task = "landmark_3d_68"

_MOST_PREVIEWS = 4
#: Images whose empty boxes are named.
_MOST_NAMED = 8
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
    RETURN_TYPES = (FACES, "IMAGE", "MASK", "BBOX", "INT", BOUNDING_BOX, FACE_LANDMARKS)
    RETURN_NAMES = (
        *("faces", "annotated", "mask", "bbox", "count"),
        *("bounding_box", "face_landmarks"),
    )
    OUTPUT_TOOLTIPS = (
        "Boxes, scores and landmarks of all faces, and the image each belongs to.",
        "The images with boxes, landmarks, and number and score of each face (if annotate is on).",
        "One mask an image, 1 where a face is; hard edges.",
        "One flat list of whole-pixel boxes, in the order of the images and, within one, by score; "
        "cut off at the image's border.",
        "Number of faces in all images together.",
        "ComfyUI's own boxes, a list for each image, with label and score: for SAM3 Detect, Draw "
        "BBoxes and others.",
        "For ComfyUI's MediaPipe nodes that draw and mask faces: the landmarks that `landmarks` "
        "says.",
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
            "optional": {
                "boxes": (
                    BOUNDING_BOX,
                    {
                        "forceInput": True,
                        "tooltip": "Optional. Boxes around heads or whole people, of SAM3, "
                        "MediaPipe, RT-DETR or drawn by hand: the face in each is found, in their "
                        "order, and no other. The boxes of one image alone are for all images.",
                    },
                ),
                "face_landmarks": (
                    FACE_LANDMARKS,
                    {
                        "tooltip": "Optional. The same with the faces of ComfyUI's MediaPipe "
                        "face landmark detector, in place of boxes."
                    },
                ),
                "landmarks": (
                    list(LANDMARKS),
                    {
                        "tooltip": "What the face_landmarks output holds: the five points of each "
                        "face, which cost nothing, or 68, for which a network of the pack "
                        "(landmark_3d_68) runs for each face."
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
        boxes: Any = None,
        face_landmarks: Any = None,
        landmarks: str | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        if boxes is not None and face_landmarks is not None:
            raise InvalidInput(
                "got both boxes and face_landmarks, expected one of them; disconnect the other"
            )
        wanted = (_68_TASK,) if landmarks == LANDMARKS[1] else ()
        said = ""
        with part(0.0, _DETECTION_SHARE if annotate else 1.0):
            if boxes is None and face_landmarks is None:
                faces = faceanalysis.analyze(require_images(images), wanted)
            else:
                frames = (
                    frames_of_landmarks(face_landmarks) if boxes is None else frames_of_boxes(boxes)
                )
                faces, said = faces_in_boxes(faceanalysis, images, frames, wanted)
        masks = face_masks(faces, size_of(images), mask_shape, images.device)
        drawn, annotated = [], images
        if annotate:
            with part(_DETECTION_SHARE, 1.0):
                drawn, annotated = annotated_images(images, faces)
        outputs = (
            *(faces, or_blocked(annotated), or_blocked(masks)),
            *(whole_pixel_boxes(faces, bbox_format), len(faces)),
            *(bounding_boxes(faces), made_face_landmarks(faces)),
        )
        return with_text(faces_in(faces) + said, *outputs, **host.preview(drawn))


def faces_in_boxes(
    app: FaceAnalysis, images: Tensor, frames: list[list[Corners]], tasks: Sequence[Task]
) -> tuple[Faces, str]:
    """The faces in some boxes of images, and what to say about boxes without one.

    Raises:
        InvalidInput: The boxes are of another number of images.
    """
    from ..models.multiview.inside_boxes import BoxesOfImages

    checked = readable_images(images)
    boxes = for_images(frames, len(checked))
    corners = torch.tensor([box for _, box in boxes], dtype=torch.float32).reshape(-1, 4)
    of_images = BoxesOfImages(corners, tuple(image for image, _ in boxes))
    faces, held = app.analyze_boxes(checked, of_images)
    if tasks:
        faces = app.describe(checked, faces, tasks)
    empty: dict[int, list[int]] = {}
    for row in sorted(set(range(len(boxes))) - set(held)):
        image = of_images.image[row]
        empty.setdefault(image, []).append(row - of_images.image.index(image))
    if not empty:
        return faces, f" of {counted(len(boxes), 'box', 'boxes')}"
    named = [
        f"{places(rows)} of image {image}" for image, rows in list(empty.items())[:_MOST_NAMED]
    ]
    more = "; ..." if len(empty) > _MOST_NAMED else ""
    said = (
        f"\n{len(boxes) - len(held)} of {counted(len(boxes), 'box', 'boxes')} left out, no face "
        f"in them (counted from 0): box {'; box '.join(named)}{more}"
    )
    _log.warning("FastFace Detect: %s", said.strip())
    return faces, said


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
