"""Unknown faces into people: those who are most like each other are joined, again and again.

Average linkage: two groups are as alike as their faces are on average, which is the product of the
mean directions. In each round all pairs of groups that are nearest to each other are joined: that
gives what joining one pair after the other gives, in a few rounds and without a matrix of all
pairs. Two faces beside each other in a picture are of two people.

Source:
    F. Murtagh, A survey of recent advances in hierarchical clustering algorithms, 1983: reciprocal
    nearest neighbours.
"""

from __future__ import annotations

import numpy as np
import torch

from ..progress import may_stop
from .faiss_index import FaissIndex, installed_faiss

#: Least similarity of two groups that are of one person.
SAME_PERSON = 0.35
#: By how much more alike two groups must be than their faces are to those beside them in pictures,
#: who are others, and what is enough in any case: small and blurred faces are alike, whoever they
#: are.
_MARGIN, _ENOUGH = 0.1, 0.65
#: Nearest groups that are looked at: the nearest of all may be of another person for sure.
_NEIGHBOURS = 16
#: So many numbers of a vector tell it from all that are not the same.
_ORDERING = 16
#: Similarities that are worked out at once: 256 MB.
_MOST_AT_ONCE = 1 << 26


def people(
    embeddings: np.ndarray,
    images: np.ndarray,
    together: np.ndarray,
    same_person: float = SAME_PERSON,
) -> np.ndarray:
    """Which faces are of one person.

    The answer is the same whatever the order of the faces is, but for the numbers of people with
    equally many of them.

    Args:
        embeddings: `[N,D]` floating, of faces that someone can be recognised by.
        images: `[N]` int64, the picture of each face.
        together: `[N]` int64: faces of one number are known to be of one person; -1 of nobody.
        same_person: Least mean cosine of the faces of two groups that are joined.

    Returns:
        `[N]` int64, numbers of people; 0 is the one with most faces.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    units = embeddings.astype(np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    # Of equal similarities the first is taken: the order of the vectors themselves decides.
    order = np.lexsort((images, *units[:, :_ORDERING].T))
    groups = _Groups(units[order], images[order], together[order])
    while groups.join_nearest(same_person):
        may_stop()
    ids = np.empty(len(units), np.int64)
    ids[order] = groups.owner
    return by_size(ids)


def by_size(ids: np.ndarray) -> np.ndarray:
    """Numbers anew: from 0, the largest group first, of equal ones that of the first face."""
    _, firsts, inverse, counts = np.unique(
        ids, return_index=True, return_inverse=True, return_counts=True
    )
    ranks = np.empty(len(counts), np.int64)
    ranks[np.lexsort((firsts, -counts))] = np.arange(len(counts))
    return ranks[inverse]


class _Groups:
    """Groups of faces on their way to people."""

    def __init__(self, units: np.ndarray, images: np.ndarray, together: np.ndarray) -> None:
        known = {number: row for row, number in reversed(list(enumerate(together.tolist())))}
        firsts = [known[n] if n >= 0 else row for row, n in enumerate(together.tolist())]
        # The row of a group's first face is its number.
        self.owner = np.array(firsts, np.int64)
        self._sums = np.zeros(units.shape, np.float64)
        np.add.at(self._sums, self.owner, units)
        self._counts = np.bincount(self.owner, minlength=len(units)).astype(np.float64)
        self._rivals = np.zeros(len(units))
        np.add.at(self._rivals, self.owner, _most_like_beside(units, images, self.owner))
        self._images: dict[int, set[int]] = {}
        for row, image in zip(self.owner.tolist(), images.tolist(), strict=True):
            self._images.setdefault(row, set()).add(image)
        self._stale = np.unique(self.owner)
        self._best = np.full(len(units), -1, np.int64)
        self._alike = np.full(len(units), -2.0)

    def join_nearest(self, same_person: float) -> bool:
        """One round; whether anything was joined."""
        alive = np.flatnonzero(self._counts)
        if len(alive) < 2:
            return False
        self._look(alive, same_person)
        best = self._best[alive]
        mutual = (best >= 0) & (self._best[best] == alive) & (alive < best)
        pairs = list(zip(alive[mutual].tolist(), best[mutual].tolist(), strict=True))
        if not pairs:
            # Rounding may have made a ring of equal similarities: its best pair is joined.
            row = int(alive[np.argmax(self._alike[alive])])
            if self._best[row] < 0:
                return False
            pairs = [(row, int(self._best[row]))]
        gone = set()
        for row, other in pairs:
            self._join(row, other)
            gone |= {row, other}
        joined = np.array(sorted(gone))
        lost = np.isin(self._best, joined) & (self._counts > 0)
        kept = np.array([row for row, _ in pairs])
        self._stale = np.union1d(np.flatnonzero(lost), kept)
        self.owner = _followed(self.owner, pairs)
        return True

    def _look(self, alive: np.ndarray, same_person: float) -> None:
        """Finds for groups that need it the nearest one that they may be joined with."""
        means = (self._sums[alive] / self._counts[alive, None]).astype(np.float32)
        places = np.searchsorted(alive, self._stale)
        count = min(_NEIGHBOURS + 1, len(alive))
        alike, found = nearest_rows(means, means[places], count)
        for row, values, others in zip(
            self._stale.tolist(), alike.tolist(), alive[found].tolist(), strict=True
        ):
            self._best[row], self._alike[row] = -1, -2.0
            for value, other in zip(values, others, strict=True):
                if other != row and self._may_join(row, other, value, same_person):
                    self._best[row], self._alike[row] = other, value
                    break

    def _may_join(self, row: int, other: int, alike: float, same_person: float) -> bool:
        if alike < same_person:
            return False
        if alike < _ENOUGH:
            rival = max(
                self._rivals[row] / self._counts[row], self._rivals[other] / self._counts[other]
            )
            if alike < rival + _MARGIN:
                return False
        return self._images[row].isdisjoint(self._images[other])

    def _join(self, row: int, other: int) -> None:
        for values in (self._sums, self._counts, self._rivals):
            values[row] += values[other]
            values[other] = 0
        self._images[row] |= self._images.pop(other)
        self._best[other] = -1
        self._alike[other] = -2.0


def _followed(owner: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    table = np.arange(len(owner))
    for row, other in pairs:
        table[other] = row
    return table[owner]


def _most_like_beside(units: np.ndarray, images: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """`[N]` cosine of each face to the most similar other one of its picture; -1 where alone."""
    rivals = np.full(len(units), -1.0)
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.diff(images[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            cosines = units[rows] @ units[rows].T
            cosines[owner[rows][:, None] == owner[rows]] = -1.0
            rivals[rows] = cosines.max(1)
    return rivals


def nearest_rows(
    vectors: np.ndarray, queries: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors with the largest products with each query, by FAISS or else torch, exactly.

    Args:
        vectors: `[N,D]` float32.
        queries: `[M,D]` float32.
        count: At most N.

    Returns:
        Products `[M,count]` float32, falling, and rows `[M,count]` int64.
    """
    faiss = installed_faiss()
    if faiss is not None:
        return FaissIndex(faiss, vectors, is_exact=True).search(queries, count)
    known, values, rows = torch.from_numpy(vectors), [], []
    for some in torch.from_numpy(queries).split(max(1, _MOST_AT_ONCE // len(vectors))):
        may_stop()
        best = (some @ known.mT).topk(count, dim=1)
        values.append(best.values)
        rows.append(best.indices)
    return torch.cat(values).numpy(), torch.cat(rows).numpy()
