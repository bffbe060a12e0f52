"""Which frames of a film are wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput


@dataclass(frozen=True)
class Selection:
    """Frames of a part of a film: every so many, or so many spread evenly.

    Attributes:
        every_nth: 1 takes every frame, 2 every second one.
        frames: So many, spread evenly over the part, the first and the last of it among them; all
            where there are fewer. 0 leaves it to `every_nth`.
        start_seconds: Where the part begins.
        end_seconds: Where it ends; this moment belongs to it no more. None is the film's end.
    """

    every_nth: int = 1
    frames: int = 0
    start_seconds: float = 0.0
    end_seconds: float | None = None

    def numbers(self, times: np.ndarray) -> np.ndarray:
        """The numbers of the wanted frames, rising.

        Args:
            times: `[N]` seconds of each frame of the film, rising.

        Raises:
            InvalidInput: No frame is in that part of the film.
        """
        first = np.searchsorted(times, self.start_seconds - _A_BIT)
        last = len(times)
        if self.end_seconds is not None:
            last = np.searchsorted(times, self.end_seconds - _A_BIT)
        if first >= last:
            until = "its end" if self.end_seconds is None else f"{self.end_seconds:g} s"
            raise InvalidInput(
                f"no frame lies from {self.start_seconds:g} s to {until}: the film has frames "
                f"from {times[0]:.2f} s to {times[-1]:.2f} s; choose start_seconds and end_seconds "
                "within them, or 0 for all of it"
            )
        if self.frames:
            count = min(self.frames, int(last - first))
            return np.linspace(first, last - 1, count).round().astype(np.int64)
        return np.arange(first, last, self.every_nth, dtype=np.int64)


#: Seconds; times of frames are fractions that seldom are what somebody types.
_A_BIT = 1e-6
