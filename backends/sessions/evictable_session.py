"""`EvictableSession`: a session that can leave memory and come back, and goes on when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...utils.errors import BackendUnavailable, OutOfMemory
from ...utils.letterbox import Canvas
from ..interfaces import Session
from ..residency.evictable_model import EvictableModel
from .split_session import CanvasSession, Draw, run_canvas


class EvictableSession(EvictableModel[Session], CanvasSession):
    """A session under management; see `EvictableModel`."""

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Session.run`; brings the session back first if it was away.

        When its engine fails, or has no memory even for one image, it runs on the slower placement
        from then on. Without one the error is raised, and the next call opens the session anew.
        """
        return self._run(lambda session: session.run(x.to(session.device)), lambda: len(x))

    def run_canvas(self, canvas: Canvas, draw: Draw) -> tuple[Tensor, ...]:
        """See `CanvasSession.run_canvas`; otherwise like `run`."""
        images = 1

        def run(session: Session) -> tuple[Tensor, ...]:
            def draw_here(part_hw: tuple[int, int]) -> Tensor:
                nonlocal images
                x = draw(part_hw)
                images = len(x)
                return x.to(session.device)

            return run_canvas(session, canvas, draw_here)

        return self._run(run, lambda: images)

    def _run(
        self, run: Callable[[Session], tuple[Tensor, ...]], images: Callable[[], int]
    ) -> tuple[Tensor, ...]:
        while True:
            with self.in_use() as session:
                try:
                    return tuple(result.to(self.device) for result in run(session))
                except BackendUnavailable as error:
                    fewer_may_fit = isinstance(error, OutOfMemory) and images() > 1
                    if fewer_may_fit or not self._give_up(session, error):
                        raise

    @property
    def raw(self) -> Any:
        """The engine's own object."""
        with self.in_use() as session:
            return getattr(session, "raw", session)
