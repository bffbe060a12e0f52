"""What a node does between two chunks of work: show progress, stop when the user says so."""

from __future__ import annotations

from collections.abc import Callable

from ..utils import host


def reporter(node_id: str | None) -> Callable[[float, int], None]:
    """A callback `(done, total)` that moves the node's progress bar and raises on interruption."""
    bars: list[host.ProgressBar] = []

    def report(done: float, total: int) -> None:
        host.check_interrupted()
        if not bars:
            bars.append(host.progress_bar(total, node_id))
        bars[0].update_absolute(done, total)

    return report
