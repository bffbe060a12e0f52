"""How a case ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass

FINE, NAMED, BARE = "fine", "named error", "bare error"
#: How a case ended that took its process with it, or would not end.
CRASH, HANG = "crash", "hang"


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        target, number: Of the case.
        kind: `FINE`, `NAMED`, `BARE`, `CRASH` or `HANG`.
        error: The class of what was raised; empty where nothing was.
        place: The deepest line of this pack in its traceback, `path:line`.
        text: What it says, and for a bare error its whole traceback.
    """

    target: str
    number: int
    kind: str
    error: str = ""
    place: str = ""
    text: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
