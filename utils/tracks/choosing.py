"""Which tracks of a film to go on with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..embedding import Embedding, cosine_similarities, mean_embedding
from ..errors import InvalidInput
from . import BY
from .identity import rows_by_id
from .tracks import NO_TRACK, Tracks


def rows_of_tracks(tracks: Tracks) -> dict[int, np.ndarray]:
    """The rows of each track's faces, rising, by id. Reads the faces' device."""
    numbers = tracks.ids.cpu().numpy()
    by_id = {int(numbers[rows[0]]): rows for rows in rows_by_id(numbers)}
    by_id.pop(NO_TRACK, None)
    return by_id


def choose(
    tracks: Tracks,
    by: str,
    ids: Sequence[int] = (),
    reference: Embedding | None = None,
    threshold: float = -1.0,
) -> list[int]:
    """The ids of the wanted tracks. Nobody is a normal result.

    Args:
        tracks: Of a film.
        by: `largest` is the track whose faces are largest on average, `longest` the one that is in
            most analysed frames, `most similar` the one whose mean embedding is most like the
            reference; `ids` takes those that are named, in their order; `all` takes all, by id.
        ids: For `ids`.
        reference: Who is looked for. With any `by` only tracks that are like it count.
        threshold: Least cosine to the reference, -1..1.

    Raises:
        InvalidInput: No such way; no reference for `most similar`; a named track is not there;
            faces without embeddings where they are needed.
    """
    if by not in BY:
        raise InvalidInput(f"got which {by!r}, expected one of {', '.join(BY)}")
    if by == "most similar" and reference is None:
        raise InvalidInput(
            "`most similar` needs a reference; connect mean_embedding of FastFace Embed"
        )
    rows = rows_of_tracks(tracks)
    unknown = [number for number in ids if number not in rows] if by == "ids" else []
    if unknown:
        raise InvalidInput(
            f"got ids {', '.join(map(str, unknown))}, expected some of "
            f"{', '.join(map(str, sorted(rows))) or 'no tracks at all'}; the node's text lists them"
        )
    likeness: dict[int, float] = {}
    if reference is not None:
        if len(reference.vector):
            for number, of_track in rows.items():
                mean = mean_embedding(tracks.faces[of_track.tolist()])
                likeness[number] = _cosine(tracks, mean, reference)
        rows = {number: rows[number] for number in likeness if likeness[number] >= threshold}
    if by == "ids":
        return [number for number in dict.fromkeys(ids) if number in rows]
    if by == "all":
        return sorted(rows)
    if by == "largest":
        boxes = tracks.faces.boxes.cpu().double().numpy()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        value = {number: float(areas[of_track].mean()) for number, of_track in rows.items()}
    elif by == "longest":
        value = {number: float(len(of_track)) for number, of_track in rows.items()}
    else:
        value = likeness
    return sorted(rows, key=lambda number: (-value[number], number))[:1]


def _cosine(tracks: Tracks, mean: Embedding, reference: Embedding) -> float:
    one = tracks.faces[:1].with_fields(embeddings=mean.vector, embedding_space=mean.space)
    return float(cosine_similarities(one, reference)[0, 0])
