"""The types that travel between nodes, and the checks of what arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..backends.dropin.facade import FaceAnalysis
from ..utils.errors import InvalidInput
from ..utils.faces import Faces
from ..utils.images import Images

CATEGORY = "FastFace"


class AnyType(str):
    """A socket type that ComfyUI takes for equal to every other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANY = AnyType("*")

FACE_ANALYSIS = "FACEANALYSIS"
INSIGHTFACE = "INSIGHTFACE"
FACES = "FASTFACE_FACES"
EMBEDDING = "FASTFACE_EMBEDDING"
MTCNN = "FASTFACE_MTCNN"
CROPS = "FASTFACE_CROPS"

FACE_ANALYSIS_TOOLTIP = (
    "From FastFace Loader, which also decides detection size, threshold and number of faces. "
    "Loaders of other packs give an object that can't work in batches; it is refused."
)
FACES_TOOLTIP = (
    "Optional. Faces that FastFace Detect found in these very images: they are used as they are "
    "and nothing is detected again. Not connected: the faces are detected here."
)


def require_face_analysis(value: Any) -> FaceAnalysis:
    """Returns the object, or says which loader to use.

    Raises:
        InvalidInput: It is not from FastFace Loader.
    """
    if isinstance(value, FaceAnalysis):
        return value
    kind = type(value)
    raise InvalidInput(
        f"got {kind.__module__}.{kind.__qualname__} on the faceanalysis input, expected the object "
        "of FastFace Loader; connect that node's faceanalysis output (other packs accept it too: "
        "one loader can serve the whole workflow)"
    )


def given_or_found(
    faces: Any,
    face_analysis: FaceAnalysis,
    images: Images,
    on_progress: Callable[[int, int], None],
) -> Faces:
    """The faces on a node's optional input, or, when it is not connected, those found now.

    Raises:
        InvalidInput: What is connected are no faces, or of other images.
    """
    if faces is None:
        return face_analysis.analyze(images, on_progress=on_progress)
    return require_faces_of(faces, images)


def require_faces_of(faces: Any, images: Images) -> Faces:
    """Returns the faces, or says why they can't be those of these images.

    Raises:
        InvalidInput: They are no faces, or of other images.
    """
    faces = require_faces(faces)
    if faces.image_sizes != images.sizes_hw:
        raise InvalidInput(
            f"got faces of {_sizes(faces.image_sizes)}, but the images are "
            f"{_sizes(images.sizes_hw)}; connect the images in which the faces were detected"
        )
    return faces


def require_faces(value: Any) -> Faces:
    """Returns the faces, or says which node gives some.

    Raises:
        InvalidInput: They are no faces.
    """
    if isinstance(value, Faces):
        return value
    raise InvalidInput(
        f"got {type(value).__name__} on the faces input, expected the faces of FastFace Detect"
    )


def _sizes(sizes_hw: Sequence[tuple[int, int]]) -> str:
    distinct = ", ".join(f"{width} x {height}" for height, width in dict.fromkeys(sizes_hw))
    return f"{len(sizes_hw)} image(s) of {distinct or 'no size'}"


def image_input(extra: str = "") -> tuple[str, dict[str, str]]:
    """The declaration of an IMAGE input; `extra` is appended to its tooltip."""
    return (
        "IMAGE",
        {
            "tooltip": "One image or a batch (video frames), values 0..1; "
            f"alpha is ignored. {extra}".rstrip()
        },
    )


def images_with_faces() -> dict[str, tuple[str, dict[str, str]]]:
    """The first inputs of nodes that work on faces of the images they are given."""
    faces = {"tooltip": "Faces of these very images, from FastFace Detect or Select."}
    return {"images": image_input(), "faces": (FACES, faces)}


def similarity_input(tooltip: str) -> tuple[str, dict[str, Any]]:
    """The declaration of a threshold for the cosine of two embeddings."""
    limits = {"default": 0.3, "min": -1.0, "max": 1.0, "step": 0.01}
    return "FLOAT", {**limits, "tooltip": tooltip}


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of a ComfyUI IMAGE `[B,H,W,C]`."""
    return images.shape[1], images.shape[2]
