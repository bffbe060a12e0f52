"""`Embedding`: one identity as a vector that knows what it may be compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InvalidInput
from .faces import Faces


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """The mean of the embeddings of some faces.

    Attributes:
        vector: `[1,D]` float32, not normalised; `[0,D]` when there was no face to take it from.
        space: Names what it may be compared with, as `Faces.embedding_space`; None if no face
            could tell.

    Raises:
        InvalidInput: The vector is not such a tensor.
    """

    vector: Tensor
    space: str | None

    def __repr__(self) -> str:
        if not len(self.vector):
            return "Embedding(of nobody)"
        return f"Embedding({self.vector.shape[1]} numbers of {self.space} on {self.vector.device})"

    def __post_init__(self) -> None:
        shape = tuple(self.vector.shape)
        if len(shape) != 2 or shape[0] > 1 or not self.vector.is_floating_point():
            raise InvalidInput(
                f"Embedding.vector: got {self.vector.dtype} of shape {shape}, expected floating "
                "numbers [1,D], or [0,D] for nobody"
            )


def mean_embedding(faces: Faces) -> Embedding:
    """The mean of all embeddings, each as the network gave it.

    The embeddings are not normalised before: ArcFace gives clear frontal faces longer vectors, so
    the plain mean counts them more. It is what InstantID's and IPAdapter's `average` compute.

    Raises:
        InvalidInput: The faces have no embeddings yet.
    """
    if faces.embeddings is None:
        if len(faces):
            raise InvalidInput(
                f"got {len(faces)} faces without embeddings; let FastFaceEmbed add them first"
            )
        return Embedding(faces.boxes.new_zeros(0, 0), None)
    rows = faces.embeddings
    vector = rows.mean(dim=0, keepdim=True) if len(rows) else rows
    return Embedding(vector, faces.embedding_space)


def cosine_similarities(faces: Faces, others: Faces | Embedding) -> Tensor:
    """Cosines of the angles between all embeddings of two groups.

    Args:
        faces: With embeddings.
        others: With embeddings of the same space, on any device.

    Returns:
        `[N,M]` float32, -1..1, on the device of `faces`; around 0 for strangers.

    Raises:
        InvalidInput: Embeddings are missing, hold NaN or infinity, or are of two spaces or
            lengths, which can't be compared.
    """
    rows, space = _vectors(faces)
    columns, other_space = _vectors(others)
    if not len(rows) or not len(columns):
        return rows.new_zeros(len(rows), len(columns))
    _require_same(space, other_space)
    if rows.shape[1] != columns.shape[1]:
        raise InvalidInput(
            f"got embeddings of {rows.shape[1]} and of {columns.shape[1]} numbers, which can't be "
            "compared; let FastFaceEmbed make both with the same model pack"
        )
    normalize = torch.nn.functional.normalize
    cosines = normalize(rows) @ normalize(columns.to(rows)).mT
    if not bool(cosines.isfinite().all()):
        raise InvalidInput(
            "got embeddings with NaN or infinite values; make them again with precision fp32 in "
            "FastFaceLoader"
        )
    return cosines


def require_space(reference: Embedding | None, space: str | None) -> None:
    """Refuses a reference that embeddings of a space can't be compared with; nobody's is taken.

    Raises:
        InvalidInput: It is of another space.
    """
    if reference is not None and len(reference.vector):
        _require_same(space, reference.space)


def _require_same(space: str | None, other: str | None) -> None:
    if space != other:
        raise InvalidInput(
            f"got embeddings of {space!r} and of {other!r}, which can't be compared; "
            "let FastFaceEmbed make both with the same model pack"
        )


def _vectors(value: Faces | Embedding) -> tuple[Tensor, str | None]:
    if isinstance(value, Embedding):
        return value.vector, value.space
    if value.embeddings is not None:
        return value.embeddings, value.embedding_space
    if len(value):
        raise InvalidInput(
            f"got {len(value)} faces without embeddings; let FastFaceEmbed (which: all) add them"
        )
    return value.boxes.new_zeros(0, 0), None
