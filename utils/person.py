"""`Person`: who is wanted among the faces of an image, and which faces that leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .choose import ORDERS, numbered, rank
from .embedding import Embedding, cosine_similarities
from .errors import InvalidInput
from .faces import Faces

#: `only` leaves the wanted face alone, `first` puts it before the others.
KEPT = ("only", "first")

#: Gives faces of these rows `[K]` int64, with embeddings.
Embed = Callable[[Tensor], Faces]


class Choice(NamedTuple):
    """Faces by row, grouped by image.

    Attributes:
        rows: `[K]` int64.
        is_wanted: `[K]` bool, whether each is the wanted person: at most the first of its image.
        best_similarity: The highest cosine to the reference that any face had, or None.
    """

    rows: Tensor
    is_wanted: Tensor
    best_similarity: float | None = None


@dataclass(frozen=True, eq=False)
class Person:
    """One person of an image, however many faces it has.

    Attributes:
        by: What puts a face first; one of `ORDERS`. With a reference it is the similarity to that.
        index: The place in that order, counted from 0.
        reference: Who it is; faces less similar than `threshold` (cosine, -1..1) are nobody.
        threshold: See `reference`.
        mask: `[h,w]` floating 0..1, or None: only faces whose centre lies where it is at least 0.5.
            It is laid over the whole image, whatever their sizes.
        keep: One of `KEPT`.

    Raises:
        InvalidInput: A value is none of these.
    """

    by: str = ORDERS[0]
    index: int = 0
    reference: Embedding | None = None
    threshold: float = 0.3
    mask: Tensor | None = None
    keep: str = KEPT[0]

    def __post_init__(self) -> None:
        if self.keep not in KEPT:
            raise InvalidInput(f"got keep {self.keep!r}, expected one of {', '.join(KEPT)}")
        if self.by not in ORDERS:
            raise InvalidInput(f"got by {self.by!r}, expected one of {', '.join(ORDERS)}")
        if self.by == "most similar" and self.reference is None:
            raise InvalidInput(
                "`most similar` needs a reference; connect mean_embedding of FastFace Embed"
            )
        if self.index < 0:
            raise InvalidInput(f"got index {self.index}, expected 0 or more")
        if self.mask is not None and (self.mask.ndim != 2 or not self.mask.numel()):
            raise InvalidInput(
                f"got a mask of shape {tuple(self.mask.shape)}, expected [height, width]"
            )

    @property
    def needs_embeddings(self) -> bool:
        """Whether it takes the embeddings of faces to tell who they are."""
        return self.reference is not None and len(self.reference.vector) > 0

    @property
    def fingerprint(self) -> str:
        """Stands for all of it, in every process: the same person gives the same text."""
        content = hashlib.sha256()
        for value in (self.by, self.index, self.threshold, self.keep):
            content.update(f"{value!r}\n".encode())
        if self.reference is not None:
            content.update(f"reference of {self.reference.space}\n".encode())
            content.update(self.reference.vector.float().cpu().contiguous().numpy().tobytes())
        if self.mask is not None:
            content.update(f"mask {tuple(self.mask.shape)}\n".encode())
            content.update((self.mask >= 0.5).cpu().contiguous().numpy().tobytes())
        return content.hexdigest()

    def __str__(self) -> str:
        """For people, such as `the first face by largest, with its centre in the mask`."""
        place = f"face {self.index} (counted from 0)" if self.index else "the first face"
        if self.reference is None:
            who = f"{place} by {self.by}"
        elif len(self.reference.vector):
            who = f"{place} by similarity to the reference (at least {self.threshold:g})"
        else:
            who = "the person of the reference, in whose photos there was no face"
        return who + ("" if self.mask is None else ", with its centre in the mask")

    def choose(self, faces: Faces, embed: Embed) -> Choice:
        """The faces that are left, the wanted one of each image first.

        Args:
            faces: Of any number of images, grouped by image, on any device.
            embed: Called only where a reference needs it, for all faces in question at once.

        Returns:
            With keep `only` the wanted faces; with `first` all, in their order but for the wanted
            ones. Images in which nobody fits have no face with `only`, and all with `first`.

        Raises:
            InvalidInput: The reference is of another embedding space.
        """
        rows = torch.arange(len(faces), device=faces.device)
        if self.mask is not None:
            rows = rows[_centres_within(faces, self.mask)]
        order, similarity, best = self.by, None, None
        if self.reference is not None:
            # Nobody is like nobody, whatever the threshold.
            rows = rows if self.needs_embeddings else rows[:0]
            similarity = rows.new_zeros(0, dtype=torch.float32)
            if len(rows):
                similarity = cosine_similarities(embed(rows), self.reference)[:, 0]
                best = float(similarity.max())
                like = similarity >= self.threshold
                rows, similarity = rows[like], similarity[like]
            order = "most similar"
        candidates = faces[rows]
        ranked = rank(candidates, order, similarity)
        wanted = rows[numbered(candidates, ranked, self.index, 1)]
        if self.keep == "only":
            return Choice(wanted, torch.ones_like(wanted, dtype=torch.bool), best)
        is_wanted = torch.zeros(len(faces), dtype=torch.bool, device=faces.device)
        is_wanted[wanted] = True
        # The wanted ones before the others, and then by image: both sorts keep what is equal.
        first = torch.argsort((~is_wanted).to(torch.int64), stable=True)
        first = first[torch.argsort(faces.image_index[first], stable=True)]
        return Choice(first, is_wanted[first], best)


def _centres_within(faces: Faces, mask: Tensor) -> Tensor:
    """`[N]` bool, whether the centre of each box lies in a mask `[h,w]` laid over its image.

    Centres beyond the border count as on it: boxes of cut-off faces reach beyond.
    """
    mask = mask.to(faces.device)
    sizes_wh = torch.tensor(faces.image_sizes, dtype=torch.float32).reshape(-1, 2).flip(1)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    shares = centres / sizes_wh.to(faces.device)[faces.image_index]
    height, width = mask.shape
    column = (shares[:, 0] * width).long().clamp(0, width - 1)
    row = (shares[:, 1] * height).long().clamp(0, height - 1)
    return mask[row, column] >= 0.5
