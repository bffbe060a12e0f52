"""Names of tracks: those that people give, and those of a gallery of known people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..embedding import mean_embedding
from ..gallery.search import GalleryIndex
from .choosing import rows_of_tracks
from .tracks import Tracks


def with_names(tracks: Tracks, names: Mapping[int, str]) -> Tracks:
    """Tracks with these names, by id, beside those they have."""
    return replace(tracks, names=MappingProxyType({**tracks.names, **names}))


def names_by_gallery(tracks: Tracks, gallery: GalleryIndex, threshold: float) -> dict[int, str]:
    """Whom of a gallery each track is most like, by its mean embedding; strangers are left out.

    Args:
        tracks: Whose faces have embeddings of the gallery's space.
        gallery: People.
        threshold: Least cosine, -1..1.

    Raises:
        InvalidInput: The faces have no embeddings, or those of another space.
    """
    names: dict[int, str] = {}
    for track, rows in rows_of_tracks(tracks).items():
        faces = tracks.faces[rows.tolist()]
        queries = faces if faces.embeddings is None else mean_embedding(faces)
        for match in gallery.search(queries, 1)[0][:1]:
            if match.similarity >= threshold:
                names[track] = match.name
    return names
