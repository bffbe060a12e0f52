"""`OfferedTasks`: which of a pack's tasks an object offers, and why the others are missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...utils.errors import InvalidInput
from ...utils.insightface_fields import FACE_KEYS
from ...utils.packs import ModelPack, Task


@dataclass(frozen=True)
class OfferedTasks:
    """The tasks that were chosen when an object was loaded.

    Attributes:
        chosen: By name; None offers all that the pack has. Detection is offered always.
    """

    chosen: Sequence[Task] | None = None

    def of_pack(self, pack: ModelPack) -> list[Task]:
        """Those that describe faces and that a pack has, in its order."""
        return [
            task
            for task in pack.tasks
            if task in FACE_KEYS and (self.chosen is None or task in self.chosen)
        ]

    def require(self, tasks: Iterable[Task]) -> None:
        """Refuses tasks that were left out.

        Raises:
            InvalidInput: Names them, and what to do.
        """
        reason = self.left_out(tasks)
        if reason:
            raise InvalidInput(reason)

    def left_out(self, tasks: Iterable[Task]) -> str | None:
        """Which of these tasks were left out, for people."""
        missing = [task for task in tasks if self.chosen is not None and task not in self.chosen]
        if not missing:
            return None
        return (
            f"{', '.join(missing)} was left out by heads, or by FASTFACE_HEADS; the tasks "
            f"here are {', '.join(self.chosen or ())}: add it, or choose all"
        )

    def reasons_of_absence(self, pack: ModelPack, there: Iterable[str]) -> dict[str, str]:
        """Why faces lack the fields of tasks that are not there, by field."""
        missing: list[Task] = [task for task in FACE_KEYS if task not in set(there)]
        return {
            key: self.left_out([task]) or pack.lacks(task)
            for task in missing
            for key in FACE_KEYS[task]
        }
