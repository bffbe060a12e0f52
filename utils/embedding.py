"""`Embedding`: one identity as a vector that knows what it may be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .errors import InvalidInput
from .faces import Faces


@dataclass(frozen=True, eq=False)
class Embedding:
    """The mean of the embeddings of some faces.

    Attributes:
        vector: `[1,D]` float32, not normalised; `[0,D]` when there was no face to take it from.
        space: Names what it may be compared with, as `Faces.embedding_space`; None if no face
            could tell.
    """

    vector: Tensor
    space: str | None


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
