"""`FastFaceFaceModel`: one person as ReActor's FACE_MODEL, sent on and kept as a file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..utils import host
from ..utils.choose import largest_of_each_image
from ..utils.faces import Faces
from ..utils.progress import part
from .socket_checks import given_or_found
from .sockets import (
    CATEGORY,
    FACE_ANALYSIS,
    FACE_ANALYSIS_TOOLTIP,
    FACES_INPUT,
    image_input,
)
from .texts import faces_in, with_text

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_log = logging.getLogger("FastFace")


class FastFaceFaceModel:
    DISPLAY_NAME = "FastFace Face Model"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "reactor",
        "face model",
        "save face model",
        "face swap",
    )
    DESCRIPTION = (
        "Makes a face model for ReActor from one or several photos of a person, with all nine "
        "fields, and keeps it as a file that ReActor's Load Face Model lists."
    )
    FUNCTION = "make"
    OUTPUT_NODE = True
    RETURN_TYPES = ("FACE_MODEL", "STRING")
    RETURN_NAMES = ("face_model", "info")
    OUTPUT_TOOLTIPS = (
        "For the face_model inputs of ReActor; nodes behind it don't run when there is no face.",
        "From how many faces it was made, where it is kept, and what to mind.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "faceanalysis": (FACE_ANALYSIS, {"tooltip": FACE_ANALYSIS_TOOLTIP}),
                "images": image_input("Photos of one person."),
                "name": (
                    "STRING",
                    {
                        "default": "",
                        "tooltip": "Name of the file in models/reactor/faces; one of that name is "
                        "replaced. Empty: no file is written.",
                    },
                ),
            },
            "optional": {
                "faces": (
                    FACES_INPUT,
                    {
                        "tooltip": "Optional. The faces of these very images that are the person, "
                        "from FastFace Select: all of them count. Not connected: the largest of "
                        "each image."
                    },
                )
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def make(
        self,
        faceanalysis: FaceAnalysis,
        images: Tensor,
        name: str = "",
        faces: Faces | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..pipeline.insightface_compat.face_model import (
            FACE_MODEL_TASKS,
            blended_face_model,
            caution,
            face_models_folder,
            require_all_fields,
            save_face_model,
        )

        pack = faceanalysis.analyzer.pack
        require_all_fields(pack)
        with part(0.0, 0.5):
            checked, found = given_or_found(faces, faceanalysis, images)
        if faces is None:
            found = found[largest_of_each_image(found)]
        if not len(found):
            info = f"{faces_in(found)}: no face model was made"
            _log.warning(info)
            return with_text(info, host.blocked(None), info)
        with part(0.5, 1.0):
            found = faceanalysis.describe(checked, found, FACE_MODEL_TASKS)
        face = blended_face_model(found)
        lines = [f"made of {len(found)} face(s) in {len(checked)} image(s)"]
        if name:
            path = save_face_model(face, face_models_folder(), name)
            lines.append(f"kept as {path.name}, where ReActor's Load Face Model finds it")
        lines += filter(None, [caution(pack)])
        info = "\n".join(lines)
        return with_text(info, face, info)


NODES = {"FastFaceFaceModel": FastFaceFaceModel}
