"""Who the faces of an album are: known people by a gallery."""

from __future__ import annotations

from collections.abc import Sequence

from ...utils.gallery.search import Match, index_of
from ...utils.gallery.store import GalleryStore
from .analysis import Album
from .records import FileRecord
from .table import FaceName


class AlbumPeople:
    """Who the faces of an album are."""

    def __init__(self, album: Album, gallery: GalleryStore | None, threshold: float) -> None:
        """
        Args:
            album: All its faces.
            gallery: Of known people.
            threshold: Lowest similarity (cosine) of a face to somebody of the gallery.
        """
        self._gallery = gallery
        self._threshold = threshold

    def names(self, record: FileRecord) -> Sequence[FaceName]:
        """Who each face of a file is."""
        faces = record.faces
        if self._gallery is None or faces.embeddings is None or not len(faces):
            return [FaceName()] * len(faces)
        return [self._name(each) for each in index_of(self._gallery).search(faces)]

    def _name(self, matches: Sequence[Match]) -> FaceName:
        if not matches:
            return FaceName()
        best = matches[0]
        return FaceName(best.name if best.similarity >= self._threshold else None, best.similarity)
