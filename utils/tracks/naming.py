"""Names of tracks: as users type them, and those of a gallery of known people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..embedding import mean_embedding
from ..errors import InvalidInput
from ..gallery.search import GalleryIndex
from ..text import quoted
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


def ids_in(text: str, tracks: Tracks) -> list[int]:
    """Ids of tracks that a user named by id or by name, divided by commas.

    Raises:
        InvalidInput: It is no list of these.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    ids: list[int] = []
    for word in words:
        of_name = [track for track, name in tracks.names.items() if name == word]
        if of_name:
            ids += sorted(of_name)
        elif word.isascii() and word.isdecimal():
            ids.append(int(word))
        else:
            known = ", ".join(sorted(set(tracks.names.values()))) or "none"
            raise InvalidInput(
                f"got ids with {quoted(word)}, expected whole numbers from 0 or names of tracks "
                f"({known}), divided by commas, such as 0,2; or choose by largest, longest or all"
            )
    if not ids:
        raise InvalidInput(
            f"got ids {quoted(text)}, expected whole numbers from 0 or names of tracks, divided by "
            "commas, such as 0,2; or choose by largest, longest or all"
        )
    return ids


def names_in(text: str) -> dict[int, str]:
    """Names that a user gave to tracks, by id: `0=Anna, 2=Ben`.

    Raises:
        InvalidInput: It is no list of ids with names.
    """
    names: dict[int, str] = {}
    for entry in filter(None, (word.strip() for word in text.replace("\n", ",").split(","))):
        number, sign, name = (word.strip() for word in entry.partition("="))
        if not (sign and name and number.isascii() and number.isdecimal()):
            raise InvalidInput(
                f"got names with {quoted(entry)}, expected an id, = and a name, divided by commas, "
                "such as 0=Anna, 2=Ben"
            )
        names[int(number)] = name
    return names
