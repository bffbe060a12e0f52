"""Who the faces of an album are: known people by a gallery, unknown ones by each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.gallery.clusters import by_size, people
from ...utils.gallery.gallery_store import GalleryStore
from ...utils.gallery.search import index_of
from ...utils.progress import may_stop
from ...utils.tracks.association import SURE_SCORE
from ...utils.tracks.best import quality
from ...utils.tracks.frontal import RECOGNISABLE, frontal
from ...utils.tracks.tracks import NO_TRACK
from .album import Album
from .album_table import FaceName
from .records import FileRecord

#: Nobody is told by a face with a shorter side, in pixels: networks see 112.
_LEAST_SIDE_PX = 20
_NOBODY = -1


@dataclass(frozen=True)
class AlbumPerson:
    """One person of an album.

    Attributes:
        number: As in the table.
        name: By the gallery; None of an unknown one.
        faces: The rows of all faces, counted through the album, the best to recognise first.
        files: In how many files they are.
    """

    number: int
    name: str | None
    faces: tuple[int, ...]
    files: int


class AlbumPeople:
    """Who the faces of an album are.

    Attributes:
        people: The person with most faces first.
        unclear: Faces that nobody can be told by: small, turned away, or not sure.
    """

    def __init__(self, album: Album, gallery: GalleryStore | None, threshold: float) -> None:
        """
        Args:
            album: All its faces; their embeddings are in memory at once.
            gallery: Of known people.
            threshold: Lowest similarity (cosine) of a face to somebody of the gallery.
        """
        self._firsts: dict[str, int] = {}
        faces = _AllFaces()
        for record in album.records():
            may_stop()
            self._firsts[record.path] = len(faces.names)
            faces.add(record, names_by_gallery(record, gallery, threshold))
        numbers = faces.numbers()
        self.people = _people(numbers, faces)
        self.unclear = int((numbers == _NOBODY).sum())
        by_number = {person.number: person.name for person in self.people}
        self._names = [
            FaceName(
                own.name or by_number.get(number),
                own.similarity,
                number if number != _NOBODY else None,
            )
            for own, number in zip(faces.names, numbers.tolist(), strict=True)
        ]

    def names(self, record: FileRecord) -> Sequence[FaceName]:
        """Who each face of a file is."""
        first = self._firsts[record.path]
        return self._names[first : first + len(record.faces)]

    def first_row(self, record: FileRecord) -> int:
        """The row of a file's first face, counted through the album."""
        return self._firsts[record.path]


def names_by_gallery(
    record: FileRecord, gallery: GalleryStore | None, threshold: float
) -> list[FaceName]:
    """Who a gallery says the faces of a file are.

    Args:
        record: Of the file.
        gallery: Of known people; None knows nobody.
        threshold: Lowest similarity (cosine) of a face to somebody.
    """
    faces = record.faces
    if gallery is None or faces.embeddings is None or not len(faces):
        return [FaceName()] * len(faces)
    found = index_of(gallery).search(faces)
    best = [matches[0] if matches else None for matches in found]
    names = [
        FaceName(match.name if match.similarity >= threshold else None, match.similarity)
        if match
        else FaceName()
        for match in best
    ]
    return _once_an_image(names, faces.images_of_faces())


def _once_an_image(names: Sequence[FaceName], images: Sequence[int]) -> list[FaceName]:
    """Leaves each name to the face of an image that is most like that person."""
    closest: dict[tuple[int, str | None], int] = {}
    for row, (who, image) in enumerate(zip(names, images, strict=True)):
        best = closest.setdefault((image, who.name), row)
        if (who.similarity or 0.0) > (names[best].similarity or 0.0):
            closest[image, who.name] = row
    return [
        who if closest[image, who.name] == row else FaceName(None, who.similarity)
        for row, (who, image) in enumerate(zip(names, images, strict=True))
    ]


class _AllFaces:
    """What of an album's faces decides who is who."""

    def __init__(self) -> None:
        self.names: list[FaceName] = []
        self.files: list[int] = []
        self.quality: list[float] = []
        self._embeddings: list[np.ndarray] = []
        self._images: list[int] = []
        self._tracks: list[tuple[int, int] | None] = []
        self._clear: list[bool] = []
        self._image = self._file = 0

    def add(self, record: FileRecord, names: Sequence[FaceName]) -> None:
        faces = record.faces
        self._file += 1
        if len(faces):
            self.names += names
            self.files += [self._file] * len(faces)
            has_picture = np.array([bool(each) for each in record.thumbnails])
            # Where there is no thumbnail, a face is nothing to show.
            self.quality += (quality(faces) - 1.0 * ~has_picture).tolist()
            self._images += [self._image + image for image in faces.images_of_faces()]
            tracks = map(record.track_of, range(len(faces)))
            self._tracks += [None if each == NO_TRACK else (self._file, each) for each in tracks]
            sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).amin(1).numpy()
            clear = (sides >= _LEAST_SIDE_PX) & (faces.scores.numpy() >= SURE_SCORE)
            if faces.landmarks is not None:
                clear &= frontal(faces.landmarks.double().numpy()) >= RECOGNISABLE
            if faces.embeddings is None:
                clear[:] = False
            else:
                self._embeddings.append(faces.embeddings.float().numpy())
            self._clear += clear.tolist()
        self._image += max(1, record.images)

    def numbers(self) -> np.ndarray:
        """`[N]` int64, the number of the person of each face; -1 where that can't be told."""
        numbers = np.full(len(self.names), _NOBODY, np.int64)
        together = self._together()
        rows = np.flatnonzero(self._clear)
        if not len(rows):
            return numbers
        embeddings = np.concatenate(self._embeddings)
        images = np.array(self._images, np.int64)
        numbers[rows] = people(embeddings[rows], images[rows], together[rows])
        # Whoever of a film is seen from behind in some frames is the same person in them.
        known = {int(together[row]): int(numbers[row]) for row in rows if together[row] >= 0}
        for row in np.flatnonzero(numbers == _NOBODY):
            numbers[row] = known.get(int(together[row]), _NOBODY)
        told = numbers != _NOBODY
        numbers[told] = by_size(numbers[told])
        return numbers

    def _together(self) -> np.ndarray:
        """`[N]` int64: faces of one track of a film, and of one name, have one number; else -1."""
        votes: dict[tuple[int, int], Counter[str]] = {}
        for track, who in zip(self._tracks, self.names, strict=True):
            if track is not None and who.name is not None:
                votes.setdefault(track, Counter())[who.name] += 1
        result = np.full(len(self.names), -1, np.int64)
        numbers: dict[object, int] = {}
        for row, (track, who) in enumerate(zip(self._tracks, self.names, strict=True)):
            key: object = who.name if track is None else track
            if track is not None and track in votes:
                key = _most_voted(votes[track])
            if key is not None:
                result[row] = numbers.setdefault(key, len(numbers))
        return result


def _most_voted(votes: Counter[str]) -> str:
    """The name with most votes; of equal ones the first by the alphabet."""
    return min(votes, key=lambda name: (-votes[name], name))


def _people(numbers: np.ndarray, faces: _AllFaces) -> list[AlbumPerson]:
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(numbers.tolist()):
        if number != _NOBODY:
            rows.setdefault(number, []).append(row)
    found = []
    for number, of_person in sorted(rows.items()):
        votes = Counter(name for row in of_person if (name := faces.names[row].name) is not None)
        best = sorted(of_person, key=lambda row: (-faces.quality[row], row))
        found.append(
            AlbumPerson(
                number,
                _most_voted(votes) if votes else None,
                tuple(best),
                len({faces.files[row] for row in of_person}),
            )
        )
    return found
