"""Pieces of tracks by who is in them: cut where the person changes, joined where it is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..progress import may_stop

#: Faces before and behind a place that are held against each other.
_WINDOW = 5
#: A person changes where neighbours, and the means before and behind, are less alike than these.
_NEIGHBOURS_UNLIKE, _SIDES_UNLIKE = 0.3, 0.2
#: So many of the longest pieces are joined in the best order; the others then join them.
_MOST_PIECES = 2_000


def split_by_person(ids: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Gives faces behind a change of person a number of their own: of a cut that nothing told of.

    Args:
        ids: `[N]` int64 by time, the piece of each face.
        embeddings: `[N,D]` float32.

    Returns:
        `[N]` int64.
    """
    result = ids.copy()
    unused = int(ids.max(initial=-1)) + 1
    for rows in rows_by_id(ids):
        unlike = (
            np.flatnonzero(
                _cosines(embeddings[rows[:-1]], embeddings[rows[1:]]) < _NEIGHBOURS_UNLIKE
            )
            + 1
        )
        for place in unlike.tolist():
            may_stop()
            before = embeddings[rows[max(0, place - _WINDOW) : place]].sum(0)
            behind = embeddings[rows[place : place + _WINDOW]].sum(0)
            if _cosines(before[None], behind[None])[0] < _SIDES_UNLIKE:
                result[rows[place:]] = unused
                unused += 1
    return result


def join_by_person(
    ids: np.ndarray, frames: np.ndarray, embeddings: np.ndarray, same_person: float
) -> np.ndarray:
    """Gives pieces of one person one number.

    Always the two most alike that are never in one frame are joined, until none are alike enough:
    average linkage with constraints.

    Args:
        ids: `[N]` int64, the piece of each face.
        frames: `[N]` int64, the frame of each face.
        embeddings: `[N,D]` float32, as the network gave them: clear faces have longer ones and
            count more.
        same_person: Least cosine of the means.

    Returns:
        `[N]` int64.
    """
    pieces = sorted(rows_by_id(ids), key=lambda rows: (-len(rows), rows[0]))
    sums = np.stack([embeddings[rows].sum(0) for rows in pieces]) if pieces else embeddings[:0]
    # One bit a frame: whether two pieces are ever in one is one operation.
    presence = [sum(1 << frame for frame in frames[rows].tolist()) for rows in pieces]
    group = list(range(len(pieces)))
    _join_best_first(sums, presence, group, min(len(pieces), _MOST_PIECES), same_person)
    _join_to_best(sums, presence, group, _MOST_PIECES, same_person)
    result = ids.copy()
    for piece, rows in enumerate(pieces):
        result[rows] = ids[pieces[_root(group, piece)][0]]
    return result


def rows_by_id(ids: np.ndarray) -> list[np.ndarray]:
    """The rows of each number, rising, in the order of the numbers."""
    order = np.argsort(ids, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(ids[order])) + 1) if len(ids) else []


def _join_best_first(
    sums: np.ndarray, presence: list[int], group: list[int], count: int, same_person: float
) -> None:
    """Joins among the first `count` pieces; a joined one is represented by the longer."""
    means = _normalized(sums[:count])
    alike = means @ means.T
    np.fill_diagonal(alike, -1.0)
    while count > 1:
        may_stop()
        first, second = sorted(divmod(int(alike.argmax()), count))
        if alike[first, second] < same_person:
            return
        if presence[first] & presence[second]:
            alike[first, second] = alike[second, first] = -1.0
            continue
        apart = (alike[first] == -1.0) | (alike[second] == -1.0)
        presence[first] |= presence[second]
        sums[first] += sums[second]
        group[second] = first
        means[first] = _normalized(sums[first : first + 1])[0]
        alike[first] = np.where(apart, -1.0, means @ means[first])
        alike[:, first] = alike[first]
        alike[second] = alike[:, second] = -1.0


def _join_to_best(
    sums: np.ndarray, presence: list[int], group: list[int], first: int, same_person: float
) -> None:
    """Joins the pieces from `first` on, one after the other, to the most alike one before."""
    for piece in range(first, len(group)):
        may_stop()
        heads = [other for other in range(piece) if group[other] == other]
        alike = _normalized(sums[heads]) @ _normalized(sums[piece : piece + 1])[0]
        for place in np.argsort(-alike, kind="stable").tolist():
            if alike[place] < same_person:
                break
            head = heads[place]
            if not presence[head] & presence[piece]:
                presence[head] |= presence[piece]
                sums[head] += sums[piece]
                group[piece] = head
                break


def _root(group: Sequence[int], piece: int) -> int:
    while group[piece] != piece:
        piece = group[piece]
    return piece


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (_normalized(first) * _normalized(second)).sum(-1)


def _normalized(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
