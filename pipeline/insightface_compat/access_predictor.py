"""`AccessPredictor`: how far the fields of an image's faces are read, going by the image before."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...utils.packs import Task


@dataclass
class _Reading:
    """Which faces of one image somebody read a field of."""

    image: object
    rows: set[int] = field(default_factory=set)


class AccessPredictor:
    """Tells whether it pays to describe all faces of an image at once.

    Whoever reads a field of one face may go on to the others or not, and does the same with the
    next image: InstantID wants one face of each, a face swapper all. A wrong guess costs time once
    and changes no result, which is why nothing here is locked.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Reading] = {}

    def expects_all(self, task: Task, image: object) -> bool:
        """Whether of the last other image with several faces more than one face was read.

        Args:
            task: Of which fields are about to be read.
            image: Stands for the image they are of.
        """
        last = self._last.get(task)
        return last is not None and last.image is not image and len(last.rows) > 1

    def note(self, task: Task, image: object, row: int) -> None:
        """Takes note that a field of one face of an image with several was read."""
        last = self._last.get(task)
        if last is None or last.image is not image:
            last = self._last[task] = _Reading(image)
        last.rows.add(row)
