"""The types that travel between nodes, and inputs and outputs that several declare alike."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..utils import host

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
#: ComfyUI's own: see `utils/box_formats.py` and `utils/face_landmarks.py`.
BOUNDING_BOX = "BOUNDING_BOX"
FACE_LANDMARKS = "FACE_LANDMARKS"
CROPS = "FASTFACE_CROPS"
TRACKS = "FASTFACE_TRACKS"
#: What every input for faces takes: of tracks the function gets the faces, see `faces_given`.
FACES_INPUT = f"{FACES},{TRACKS}"
#: ComfyUI's own films; see `utils/video/video_objects.py`.
VIDEO = "VIDEO"

FACE_ANALYSIS_TOOLTIP = (
    "From FastFace Loader, which also decides detection size, threshold and number of faces. "
    "Loaders of other packs give an object that can't work in batches; it is refused."
)
FACES_TOOLTIP = (
    "Optional. Faces that FastFace Detect found in these very images: they are used as they are "
    "and nothing is detected again; of tracks, the frames that were analysed. Not connected: the "
    "faces are detected here."
)


def or_blocked(batch: Tensor) -> Any:
    """An IMAGE or MASK as an output; without an image in it the nodes behind it don't run."""
    return batch if len(batch) else host.blocked(batch)


def list_or_blocked(values: list[Any]) -> Any:
    """A list output; without an entry the nodes behind it don't run, where ComfyUI would fail."""
    return values or host.blocked(values)


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
    faces = {
        "tooltip": "Faces of these very images, from FastFace Detect or Select; or tracks, where "
        "the images are the frames that were analysed."
    }
    return {"images": image_input(), "faces": (FACES_INPUT, faces)}


def similarity_input(tooltip: str) -> tuple[str, dict[str, Any]]:
    """The declaration of a threshold for the cosine of two embeddings."""
    limits = {"default": 0.3, "min": -1.0, "max": 1.0, "step": 0.01}
    return "FLOAT", {**limits, "tooltip": tooltip}


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of a ComfyUI IMAGE `[B,H,W,C]`."""
    return images.shape[1], images.shape[2]
