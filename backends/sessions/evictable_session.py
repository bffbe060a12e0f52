"""`EvictableSession`: a session that can leave memory and come back, and goes on when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...utils.errors import BackendUnavailable, OutOfMemory
from ...utils.letterbox import Canvas
from ..interfaces import Session
from ..placement import Placement
from ..residency.evictable_model import EvictableModel
from ..residency.model_registry import ModelName
from .margin_session import MarginSession


class EvictableSession(EvictableModel[Session]):
    """A session under management; see `EvictableModel`. It is a `CanvasSession`."""

    def __init__(
        self,
        name: ModelName,
        open_at: Callable[[Placement], Session],
        placement: Placement,
        size_bytes: int,
        slower: Placement | None = None,
        black: float = 0.0,
        opening_factor: float = 2.0,
        input_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """
        Args:
            name, open_at, placement, size_bytes, slower: See `EvictableModel`.
            black: A black pixel in the network's input.
            opening_factor: See `make_room`.
            input_format: See `interfaces.input_format`.
        """
        super().__init__(name, open_at, placement, size_bytes, slower, opening_factor)
        self._black = black
        self.input_format = input_format

    def input_hw(self, canvas: Canvas) -> tuple[int, int]:
        """See `CanvasSession.input_hw`."""
        with self.in_use() as session:
            return _input_hw(session, canvas)

    def run(self, x: Tensor, canvas: Canvas | None = None) -> tuple[Tensor, ...]:
        """See `CanvasSession.run`; brings the session back first if it was away.

        When its engine fails, or has no memory even for one image, it runs on the slower placement
        from then on. Without one the error is raised, and the next call opens the session anew.
        """
        while True:
            with self.in_use() as session:
                try:
                    results = self._run_on(session, x.to(session.device), canvas)
                    return tuple(result.to(self.device) for result in results)
                except BackendUnavailable as error:
                    fewer_may_fit = isinstance(error, OutOfMemory) and len(x) > 1
                    if fewer_may_fit or not self._give_up(session, error):
                        raise

    def _run_on(self, session: Session, x: Tensor, canvas: Canvas | None) -> tuple[Tensor, ...]:
        if canvas is None:
            return session.run(x)
        # It may be another session than the one that was asked for the part.
        height, width = _input_hw(session, canvas)
        margins = (0, width - x.shape[3], 0, height - x.shape[2])
        if any(margins):
            x = pad(x, margins, value=self._black)
        return session.run(x, canvas) if isinstance(session, MarginSession) else session.run(x)

    @property
    def raw(self) -> Any:
        """The engine's own object."""
        with self.in_use() as session:
            return getattr(session, "raw", session)


def _input_hw(session: Session, canvas: Canvas) -> tuple[int, int]:
    return session.input_hw(canvas) if isinstance(session, MarginSession) else canvas.size_hw
