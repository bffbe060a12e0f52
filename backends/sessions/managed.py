"""`ManagedSession`: a session that can leave memory and come back, and goes on when it fails."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...utils.errors import BackendUnavailable, OutOfMemory
from ..interfaces import Session
from ..memory.managed import Managed


class ManagedSession(Managed[Session]):
    """A session under management; see `Managed`."""

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `Session.run`; brings the session back first if it was away.

        When its engine fails, or has no memory even for one image, it runs on the slower placement
        from then on. Without one the error is raised, and the next call opens the session anew.
        """
        while True:
            with self.in_use() as session:
                try:
                    results = session.run(x.to(session.device))
                    return tuple(result.to(x.device) for result in results)
                except BackendUnavailable as error:
                    fewer_may_fit = isinstance(error, OutOfMemory) and len(x) > 1
                    if fewer_may_fit or not self._give_up(session, error):
                        raise

    @property
    def raw(self) -> Any:
        """The engine's own object."""
        with self.in_use() as session:
            return getattr(session, "raw", session)
