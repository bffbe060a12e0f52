"""`FaceOrder`: which of the faces that were found callers get, and in what order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...utils.choose import rows_within_limit
from ...utils.faces import Faces
from ...utils.person import Choice, Embed, Person

_log = logging.getLogger("FastFace")

#: Images that a line of the log names.
_MOST_NAMED = 12


class FaceOrder:
    """The detector's order, or that of persons who were asked for.

    Of several persons each is looked for among what the one before left. Who is wanted is decided
    among all faces that the detector finds; a limit on their number comes after that, and never
    costs the wanted one.

    Attributes:
        persons: See above; none leaves the detector's order, best score first.
    """

    def __init__(self, persons: tuple[Person, ...] = ()) -> None:
        self.persons = persons
        self._last_missed: bytes | None = None

    def narrowed(self, person: Person) -> FaceOrder:
        """Another one, with one more person."""
        return FaceOrder((*self.persons, person))

    @property
    def chooses(self) -> bool:
        """Whether somebody was asked for, and not the choice is another's for the moment."""
        return bool(self.persons) and not _suspended.is_on

    @property
    def needs_embeddings(self) -> bool:
        """Whether the embeddings of faces are needed to tell who they are."""
        return any(person.needs_embeddings for person in self.persons)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leaves the detector's order to calls of this thread inside: who called chooses later."""
        before, _suspended.is_on = _suspended.is_on, True
        try:
            yield
        finally:
            _suspended.is_on = before

    def rows(
        self,
        faces: Faces,
        embed: Embed,
        limit: int,
        metric: str = "default",
        image_key: bytes | None = None,
    ) -> Tensor | None:
        """Rows of the faces that callers get, grouped by image.

        Args:
            faces: All that were found, on any device.
            embed: See `Person.choose`.
            limit: Most faces an image; 0 is no limit.
            metric: How to choose among too many; see `FaceAnalysis.get`.
            image_key: Stands for the image, where it is one: consumers ask for the same image again
                and again, and one line in the log is enough.

        Returns:
            `[K]` int64 on the faces' device; None for all of them, as they are.
        """
        if not self.chooses:
            return rows_within_limit(faces, limit, metric)
        rows = torch.arange(len(faces), device=faces.device)
        is_wanted = torch.zeros_like(rows, dtype=torch.bool)
        for person in self.persons:
            among = rows
            choice = person.choose(faces[among], lambda some, among=among: embed(among[some]))
            self._tell_who_is_missed(person, faces[among], choice, image_key)
            rows, is_wanted = among[choice.rows], choice.is_wanted
        within = rows_within_limit(faces[rows], limit, metric, is_wanted)
        return rows if within is None else rows[within]

    def _tell_who_is_missed(
        self, person: Person, faces: Faces, choice: Choice, image_key: bytes | None
    ) -> None:
        """Says in one line of the log in which images with faces nobody is the wanted person."""
        with_faces = set(faces.images_of_faces())
        missed = sorted(with_faces - set(faces.image_index[choice.rows[choice.is_wanted]].tolist()))
        if not missed or (image_key is not None and image_key == self._last_missed):
            return
        self._last_missed = image_key
        where = f"none of {len(faces)} faces"
        if image_key is None:
            named = ", ".join(map(str, missed[:_MOST_NAMED]))
            more = ", ..." if len(missed) > _MOST_NAMED else ""
            total = len(faces.image_sizes)
            where = f"in {len(missed)} of {total} images (counted from 0: {named}{more}) no face"
        best = choice.best_similarity
        _log.warning(
            "FastFace Person: %s is %s%s; %s",
            where,
            person,
            "" if best is None else f", the best similarity is {best:.2f}",
            "no face is given" if person.keep == "only" else "they are given in the usual order",
        )


class _Suspended(threading.local):
    """Whether this thread is inside `FaceOrder.suspended`."""

    is_on = False


_suspended = _Suspended()
