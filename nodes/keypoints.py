"""`FastFaceKeypoints`: the images that InstantID's ControlNet takes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.choose import largest_of_each_image
from ..utils.draw import draw_keypoints
from ..utils.errors import ModelError
from ..utils.faces import Faces
from ..utils.progress import may_stop
from .socket_checks import given_or_found
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    FACES_INPUT,
    FACES_TOOLTIP,
    image_input,
    or_blocked,
    size_of,
)
from .texts import faces_in, places, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")


class FastFaceKeypoints:
    DISPLAY_NAME = "FastFace Keypoints"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "InstantID keypoints",
        "face landmarks",
        "kps",
        "face pose image",
        "control image",
    )
    DESCRIPTION = (
        "Draws the keypoint image of the largest face of each image, as InstantID's own "
        "preprocessor draws it. An image without a face gives a black one, so the batch keeps its "
        "length."
    )
    FUNCTION = "draw"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("keypoints",)
    OUTPUT_TOOLTIPS = ("One keypoint image an image, of its size; for InstantID's image_kps.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "images": image_input("The keypoint images have their size."),
            },
            "optional": {"faces": (FACES_INPUT, {"tooltip": FACES_TOOLTIP})},
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def draw(
        self,
        faceanalysis: FaceAnalysis,
        images: Tensor,
        faces: Faces | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        checked, faces = given_or_found(faces, faceanalysis, images)
        faces = faces[largest_of_each_image(faces)].to("cpu")
        if faces.landmarks is None:
            raise ModelError(
                "the detector of this model pack gives no landmarks, which keypoint images are "
                "made of; choose a pack whose detector has them, such as antelopev2 or buffalo_l"
            )
        keypoints = torch.zeros(*images.shape[:3], 3, dtype=torch.float32)
        for position, landmarks in zip(
            faces.image_index.tolist(), faces.landmarks.numpy(), strict=True
        ):
            may_stop()
            drawn = draw_keypoints(landmarks, size_of(images))
            keypoints[position] = torch.from_numpy(drawn).float() / 255
        without = sorted(set(range(len(checked))) - set(faces.image_index.tolist()))
        text = f"keypoints of {faces_in(faces)}"
        if without:
            text = f"no face in image(s) {places(without)}: their keypoint images are black"
            _log.warning(text)
        return with_text(text, or_blocked(keypoints))


NODES = {"FastFaceKeypoints": FastFaceKeypoints}
