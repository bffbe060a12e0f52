"""Pieces of tracks by who is in them: cut where the person changes, joined where it is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..progress import may_stop
from .rows import OrderedRows

#: Faces before and behind a place that are held against each other.
_WINDOW = 5
#: A person changes where neighbours, and the means before and behind, are less alike than this; of
#: a box that hardly moved, where the means are less alike than the second.
_UNLIKE, _UNLIKE_IN_PLACE = 0.35, 0.15
#: Overlap over union of a box with the one before from which on it has hardly moved.
_IN_PLACE = 0.8
#: By how much more alike two pieces must be than each is to people beside it, who are others; and
#: what is enough in any case: mirrors show people beside themselves.
_MARGIN, _ENOUGH = 0.1, 0.65
#: So many of the longest pieces are joined in the best order; the others then join them.
_MOST_PIECES = 1_000


def split_by_person(ids: np.ndarray, boxes: np.ndarray, embeddings: OrderedRows) -> np.ndarray:
    """Gives faces behind a change of person a number of their own: at a cut that was not given.

    Args:
        ids: `[N]` int64 by time, the piece of each face.
        boxes: `[N,4]` xyxy in pixels.
        embeddings: `[N,D]` float32.

    Returns:
        `[N]` int64.
    """
    result = ids.copy()
    unused = int(ids.max(initial=-1)) + 1
    for rows in rows_by_id(ids):
        neighbours = _cosines(embeddings[rows[:-1]], embeddings[rows[1:]])
        for place in (np.flatnonzero(neighbours < _UNLIKE) + 1).tolist():
            may_stop()
            before = embeddings[rows[max(0, place - _WINDOW) : place]].sum(0)
            behind = embeddings[rows[place : place + _WINDOW]].sum(0)
            in_place = _overlap_over_union(*boxes[rows[place - 1 : place + 1]]) >= _IN_PLACE
            limit = _UNLIKE_IN_PLACE if in_place else _UNLIKE
            if _cosines(before[None], behind[None])[0] < limit:
                result[rows[place:]] = unused
                unused += 1
    return result


def _overlap_over_union(first: np.ndarray, second: np.ndarray) -> float:
    """Of two boxes `[4]`."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.maximum(sides, 0).prod())
    areas = float((first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod())
    return shared / max(areas - shared, 1e-9)


def join_by_person(
    ids: np.ndarray,
    frames: np.ndarray,
    embeddings: OrderedRows,
    clear: np.ndarray,
    same_person: float,
) -> np.ndarray:
    """Gives pieces of one person one number.

    Always the two most alike that are never in one frame are joined, until none are alike enough:
    average linkage with constraints. What is enough is learnt from the film, too: small and blurred
    faces of one camera are alike, whoever they are, and people seen beside each other are others.

    Args:
        ids: `[N]` int64, the piece of each face.
        frames: `[N]` int64, the frame of each face.
        embeddings: `[N,D]` float32, as the network gave them: clear faces have longer ones and
            count more.
        clear: `[N]` bool, faces that someone can be recognised by; a piece without any stays alone.
        same_person: Least cosine of the means.

    Returns:
        `[N]` int64.
    """
    by_length = sorted(rows_by_id(ids), key=lambda rows: (-len(rows), rows[0]))
    pieces = [rows for rows in by_length if clear[rows].any()]
    if not pieces:
        return ids.copy()
    sums = np.stack([embeddings[rows[clear[rows]]].sum(0) for rows in pieces])
    groups = _Groups(sums, _presence(pieces, frames), same_person)
    groups.join_best_first(min(len(pieces), _MOST_PIECES))
    for piece in range(_MOST_PIECES, len(pieces)):
        groups.join_to_best(piece)
    result = ids.copy()
    for piece, rows in enumerate(pieces):
        result[rows] = ids[pieces[groups.head(piece)][0]]
    return result


def _presence(pieces: Sequence[np.ndarray], frames: np.ndarray) -> np.ndarray:
    """In which frames each piece is: `[K,B/8]` uint8, a bit a frame."""
    result = np.zeros((len(pieces), int(frames.max()) // 8 + 1), np.uint8)
    for row, faces in zip(result, pieces, strict=True):
        np.bitwise_or.at(row, frames[faces] // 8, (1 << frames[faces] % 8).astype(np.uint8))
    return result


def rows_by_id(ids: np.ndarray) -> list[np.ndarray]:
    """The rows of each number, rising, in the order of the numbers."""
    order = np.argsort(ids, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(ids[order])) + 1) if len(ids) else []


class _Groups:
    """Pieces on their way to people; a joined one is represented by the first, the longer."""

    def __init__(self, sums: np.ndarray, presence: np.ndarray, same_person: float) -> None:
        """
        Args:
            sums: `[K,D]` the sum of each piece's embeddings.
            presence: `[K,B/8]` uint8, the frames of each piece.
            same_person: Least cosine.
        """
        self._sums = sums
        self._presence = presence
        self._same_person = same_person
        self._joined_to = list(range(len(sums)))

    def head(self, piece: int) -> int:
        """The piece that represents a piece's group."""
        while self._joined_to[piece] != piece:
            piece = self._joined_to[piece]
        return piece

    def join_best_first(self, count: int) -> None:
        """Joins among the first `count` pieces."""
        means = _normalized(self._sums[:count])
        alike = means @ means.T
        beside = np.stack([self._beside(piece, np.arange(count)) for piece in range(count)])
        others = np.where(beside & ~np.eye(count, dtype=bool), alike, -1.0).max(1) + _MARGIN
        needed = np.clip(others, self._same_person, max(_ENOUGH, self._same_person))
        possible = ~beside
        alike[~possible | (alike < np.maximum(needed[:, None], needed))] = -np.inf
        while np.isfinite(alike.flat[place := int(alike.argmax())]):
            may_stop()
            first, second = sorted(divmod(place, count))
            self._join(first, second)
            means[first] = _normalized(self._sums[first : first + 1])[0]
            needed[first] = max(needed[first], needed[second])
            possible[first] &= possible[second]
            possible[second] = possible[:, second] = False
            row = means @ means[first]
            row[~possible[first] | (row < np.maximum(needed, needed[first]))] = -np.inf
            possible[:, first] = possible[first]
            alike[first] = alike[:, first] = row
            alike[second] = alike[:, second] = -np.inf

    def join_to_best(self, piece: int) -> None:
        """Joins a piece to the most alike group of those before it."""
        may_stop()
        heads = np.array([each for each in range(piece) if self._joined_to[each] == each])
        alike = _normalized(self._sums[heads]) @ _normalized(self._sums[piece : piece + 1])[0]
        beside = self._beside(piece, heads)
        others = alike[beside].max(initial=-1.0) + _MARGIN
        needed = float(np.clip(others, self._same_person, max(_ENOUGH, self._same_person)))
        alike[beside] = -np.inf
        if alike.max(initial=-np.inf) >= needed:
            self._join(int(heads[alike.argmax()]), piece)

    def _beside(self, piece: int, others: np.ndarray) -> np.ndarray:
        """Whether a piece is in a frame with others, itself included."""
        return (self._presence[others] & self._presence[piece]).any(1)

    def _join(self, first: int, second: int) -> None:
        self._presence[first] |= self._presence[second]
        self._sums[first] += self._sums[second]
        self._joined_to[second] = first


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (_normalized(first) * _normalized(second)).sum(-1)


def _normalized(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
