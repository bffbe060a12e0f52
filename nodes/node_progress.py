"""What a node does between two pieces of work: show progress, stop when the user says so."""

from __future__ import annotations

from collections.abc import Callable

from ..utils import host
from ..utils.progress import Progress

_PERCENT = 100


def reporter(node_id: str | None) -> Progress:
    """A callback `(done, total)` that moves the node's progress bar and raises on interruption."""
    bars: list[host.ProgressBar] = []
    shown = 0.0

    def report(done: float, total: int) -> None:
        nonlocal shown
        host.check_interrupted()
        if total <= 0 or done / total <= shown:  # asked only whether to go on
            return
        shown = done / total
        if not bars:
            bars.append(host.progress_bar(total, node_id))
        bars[0].update_absolute(done, total)

    return report


def listener(node_id: str | None) -> Callable[[float], None]:
    """The same for the share of a node's work that is done, 0..1; see `heard_by`."""
    report = reporter(node_id)
    return lambda share: report(int(share * _PERCENT), _PERCENT)
