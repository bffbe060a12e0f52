"""What may arrive at an input: `SOCKETS` has a check for each type, which refuses with words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.box_formats import frames_of_boxes
from ..utils.crops import CropBatch
from ..utils.embedding import Embedding
from ..utils.errors import InvalidInput
from ..utils.face_landmarks import frames_of_landmarks
from ..utils.faces import Faces
from ..utils.images import Images
from ..utils.pixels import extremes
from ..utils.progress import may_stop
from ..utils.tracks.tracks import Tracks
from .sockets import (
    BOUNDING_BOX,
    CROPS,
    EMBEDDING,
    FACE_ANALYSIS,
    FACE_LANDMARKS,
    FACES_INPUT,
    MTCNN,
    TRACKS,
    VIDEO,
)

if TYPE_CHECKING:
    from ..pipeline.insightface_compat.facade import FaceAnalysis

_FACES_SOURCE = "the faces of FastFace Detect, Select, Embed or Gate, or tracks of FastFace Video"


def require_face_analysis(value: Any, name: str = "faceanalysis") -> FaceAnalysis:
    """Returns the object, or says which loader to use.

    Raises:
        InvalidInput: It is not from FastFace Loader.
    """
    from ..pipeline.insightface_compat.facade import FaceAnalysis

    if isinstance(value, FaceAnalysis):
        return value
    kind = type(value)
    raise InvalidInput(
        f"got {kind.__module__}.{kind.__qualname__} on the {name} input, expected the object "
        "of FastFace Loader; connect that node's faceanalysis output (other packs accept it too: "
        "one loader can serve the whole workflow)"
    )


def require_images(value: Any, name: str = "images") -> Images:
    """The images of an IMAGE input `[B,H,W,C]`; looks at shape and type alone.

    Raises:
        InvalidInput: It is no IMAGE.
    """
    try:
        return Images.from_comfy([value])
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None


def readable_images(value: Any, name: str = "images") -> Images:
    """The images of an IMAGE input whose pixels are read or handed on; waits for their device.

    Detection checks its images itself, with no wait of its own.

    Raises:
        InvalidInput: It is no IMAGE, or holds NaN, infinity or values far from 0..1.
    """
    images = require_images(value, name)
    try:
        images.check_values()
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None
    return images


def given_or_found(
    faces: Faces | None,
    face_analysis: FaceAnalysis,
    images: Tensor,
) -> tuple[Images, Faces]:
    """A node's images, and the faces on its optional input, or else those found now.

    Raises:
        InvalidInput: The faces are of other images, or the images hold values that are none.
    """
    if faces is None:
        found_in = require_images(images)
        return found_in, face_analysis.analyze(found_in)
    return faces_of(faces, images)


def faces_of(faces: Faces, images: Tensor) -> tuple[Images, Faces]:
    """A node's images, checked to the pixel, and its faces, if they can be those of the images.

    Raises:
        InvalidInput: The faces are of other images, or the images hold values that are none.
    """
    checked = readable_images(images)
    if faces.image_sizes != checked.sizes_hw:
        raise InvalidInput(
            f"got faces of {_sizes(faces.image_sizes)}, but the images are "
            f"{_sizes(checked.sizes_hw)}; connect the images in which the faces were detected"
        )
    return checked, faces


def _require(kind: type, source: str) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, kind):
            raise InvalidInput(
                f"got {type(value).__name__} on the {name} input, expected {source}; connect it"
            )

    return check


def faces_given(value: Any) -> Any:
    """What came to an input for faces: of tracks all their faces, named as they are."""
    if isinstance(value, Tracks):
        return value.named(value.faces, value.ids.tolist())
    return value


def require_faces(value: Any, name: str = "faces") -> None:
    """Waits once for the faces' device.

    Raises:
        InvalidInput: It is no `Faces`, or a place, score or embedding in it is no finite number.
    """
    _require(Faces, _FACES_SOURCE)(value, name)
    fields = {field: each for field, each in value.tensors() if each.is_floating_point()}
    flags = torch.stack([each.isfinite().all() for each in fields.values()]).tolist()
    wrong = [field for field, is_finite in zip(fields, flags, strict=True) if not is_finite]
    if wrong:
        raise InvalidInput(
            f"got NaN or infinite values in {', '.join(wrong)} of the faces on the {name} input, "
            "expected finite numbers; connect FastFace Detect or Embed itself"
        )


def require_embedding(value: Any, name: str = "embedding") -> None:
    """Waits once for the embedding's device.

    Raises:
        InvalidInput: It is no `Embedding`, or holds NaN or infinity.
    """
    _require(Embedding, "the mean_embedding of FastFace Embed")(value, name)
    if not bool(value.vector.isfinite().all()):
        raise InvalidInput(
            f"got an embedding with NaN or infinite values on the {name} input, expected finite "
            "numbers; make it again with precision fp32 in FastFace Loader"
        )


def require_mtcnn(value: Any, name: str = "mtcnn") -> None:
    """Looks at its type.

    Raises:
        InvalidInput: It is no `MtcnnParameters`.
    """
    from ..backends.facenet_networks.parameters import MtcnnParameters

    _require(MtcnnParameters, "the output of FastFace MTCNN")(value, name)


def require_crops(value: Any, name: str = "origin") -> None:
    """Waits once for the crops' device.

    Raises:
        InvalidInput: They are no `CropBatch`, or a pixel or its place is no finite number.
    """
    _require(CropBatch, "the origin of FastFace Crop")(value, name)
    limits = [value.matrices.isfinite().all()]
    for crop in value.pixels:
        may_stop()
        limits.append(extremes(crop).isfinite().all())
    if not bool(torch.stack([each.to(value.pixels.device) for each in limits]).all()):
        raise InvalidInput(
            f"got crops with NaN or infinite values on the {name} input, expected finite numbers; "
            "connect the origin of FastFace Crop itself"
        )


def require_tracks(value: Any, name: str = "tracks") -> None:
    """Waits once for the faces' device.

    Raises:
        InvalidInput: They are no `Tracks`, or a place, score or embedding of their faces is no
            finite number.
    """
    _require(Tracks, "the tracks of FastFace Video")(value, name)
    require_faces(value.faces, name)


def require_video(value: Any, name: str = "video") -> None:
    """Looks at its type alone: reading a film takes a while, and is for the node itself.

    Raises:
        InvalidInput: It is no VIDEO.
    """
    if not callable(getattr(value, "get_components", None)):
        raise InvalidInput(
            f"got {type(value).__name__} on the {name} input, expected a VIDEO; connect Load Video "
            "or Create Video, or an IMAGE batch to images"
        )


def require_mask(value: Any, name: str = "mask") -> None:
    """Waits once for the mask's device.

    Raises:
        InvalidInput: It is no MASK `[B,h,w]` or `[h,w]`, has no pixel, or holds NaN or infinity.
    """
    if not isinstance(value, Tensor) or value.ndim not in (2, 3) or not value.numel():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InvalidInput(
            f"got {shape} on the {name} input, expected a MASK [images, height, width]; connect one"
        )
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise InvalidInput(
            f"got a mask with NaN or infinite values on the {name} input, expected 0..1; find the "
            "node that makes them"
        )


def _named(check: Callable[[Any], object]) -> Callable[[Any, str], None]:
    """A check whose refusals say which input it was."""

    def named(value: Any, name: str) -> None:
        try:
            check(value)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None

    return named


#: What may arrive at an input, by its type: each check raises InvalidInput with the input's name.
SOCKETS: dict[str, Callable[[Any, str], object]] = {
    "IMAGE": require_images,
    "MASK": require_mask,
    FACE_ANALYSIS: require_face_analysis,
    FACES_INPUT: require_faces,
    EMBEDDING: require_embedding,
    MTCNN: require_mtcnn,
    CROPS: require_crops,
    TRACKS: require_tracks,
    VIDEO: require_video,
    BOUNDING_BOX: _named(frames_of_boxes),
    FACE_LANDMARKS: _named(frames_of_landmarks),
}


def _sizes(sizes_hw: Sequence[tuple[int, int]]) -> str:
    distinct = ", ".join(f"{width} x {height}" for height, width in dict.fromkeys(sizes_hw))
    return f"{len(sizes_hw)} image(s) of {distinct or 'no size'}"
