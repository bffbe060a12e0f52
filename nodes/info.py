"""`FastFaceInfo`: what is known about faces, as text, JSON and lists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils.embedding import Embedding, cosine_similarities
from ..utils.errors import InvalidInput
from ..utils.face_report import face_records, image_texts
from ..utils.faces import Faces
from .socket_checks import faces_of
from .sockets import (
    CATEGORY,
    EMBEDDING,
    FACE_ANALYSIS,
    FACES_INPUT,
    list_or_blocked,
)
from .texts import faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis
    from ..utils.packs import Task

#: What tells something for people, and the fields of `Faces` that it fills in.
_TASKS: dict[Task, str] = {"genderage": "age", "landmark_3d_68": "pose"}


class FastFaceInfo:
    DISPLAY_NAME = "FastFace Info"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "age",
        "gender",
        "sex",
        "head pose",
        "face count",
        "face json",
        "face attributes",
    )
    DESCRIPTION = (
        "Says what is known about each face: score, box, landmarks, age, sex, pose, and how like a "
        "reference it is; as text, as JSON, and as lists with an entry for each image."
    )
    FUNCTION = "tell"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "STRING", "INT", "STRING", "INT")
    RETURN_NAMES = ("text", "json", "count", "text_per_image", "count_per_image")
    OUTPUT_IS_LIST = (False, False, False, True, True)
    OUTPUT_TOOLTIPS = (
        "All faces, a line each.",
        "All faces as a JSON list; boxes and landmarks in pixels, pose in degrees.",
        "Number of faces in all images together.",
        "A text for each image, as a list; `no face` where there is none.",
        "The number of faces of each image, as a list.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faces": (FACES_INPUT, {"tooltip": "From FastFace Detect, Select, Embed or Gate."})
            },
            "optional": {
                "images": (
                    "IMAGE",
                    {"tooltip": "Optional, for age, sex and pose. The images of these faces."},
                ),
                "faceanalysis": (
                    FACE_ANALYSIS,
                    {
                        "tooltip": "Optional, for age, sex and pose, as far as the model pack has "
                        "them. From FastFace Loader."
                    },
                ),
                "reference": (
                    EMBEDDING,
                    {
                        "tooltip": "Optional, for the similarity (cosine, -1 to 1). The faces must "
                        "come from FastFace Embed."
                    },
                ),
            },
        }

    def tell(
        self,
        faces: Faces,
        images: Tensor | None = None,
        faceanalysis: FaceAnalysis | None = None,
        reference: Embedding | None = None,
    ) -> dict[str, Any]:
        if (images is None) != (faceanalysis is None):
            got, lacking = (
                ("images", "faceanalysis")
                if faceanalysis is None
                else (
                    "faceanalysis",
                    "images",
                )
            )
            raise InvalidInput(
                f"got {got} without {lacking}, expected both or neither: age, sex and pose are "
                "worked out with them; connect the other one too"
            )
        if images is not None and faceanalysis is not None:
            checked, faces = faces_of(faces, images)
            tasks: list[Task] = [
                task
                for task, field in _TASKS.items()
                if task in faceanalysis.models and getattr(faces, field) is None
            ]
            faces = faceanalysis.describe(checked, faces, tasks)
        similarity = None
        if reference is not None and len(reference.vector):
            similarity = cosine_similarities(faces, reference)[:, 0]
        records = face_records(faces, similarity)
        texts = image_texts(records, len(faces.image_sizes))
        several = len(texts) > 1
        text = "\n".join(
            f"image {place}\n{of_image}" if several else of_image
            for place, of_image in enumerate(texts)
        )
        outputs = (
            text or faces_in(faces),
            json.dumps(records),
            len(faces),
            list_or_blocked(texts),
            list_or_blocked(faces.per_image()),
        )
        return with_text(text or faces_in(faces), *outputs)


NODES = {"FastFaceInfo": FastFaceInfo}
