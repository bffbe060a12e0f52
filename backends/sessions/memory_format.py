"""Which order of features in memory a network runs fastest in on a card: found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .shape_cache import Run

_log = logging.getLogger("FastFace")

#: By their names in torch. Tensor cores want channels last, in fp16 and bf16. In float32 without
#: TF32 it has been seen to take 1.6 times as long as channels first, and on AMD's cards it has been
#: the slower one too (github.com/pytorch/pytorch, issue 44943 and pull request 110319).
ORDERS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}

_TIMED_RUNS = 5


@runtime_checkable
class Arrangeable(Protocol):
    """A network whose features can lie in memory in more than one order."""

    memory_format: torch.memory_format

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Puts weights and, from the next run on, features into an order."""
        ...


def seconds_on_card(run: Run, x: Tensor) -> float:
    """What a run takes on the card of `x`; waits for it."""
    with torch.cuda.device(x.device):
        run(x)
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        for _ in range(_TIMED_RUNS):
            run(x)
        after.record()
        after.synchronize()
    return before.elapsed_time(after) / 1000 / _TIMED_RUNS


def autotune(
    network: Arrangeable,
    x: Tensor,
    prepare: Callable[[], Run],
    seconds: Callable[[Run, Tensor], float] = seconds_on_card,
) -> None:
    """Arranges a network in the order in which it runs inputs such as `x` fastest.

    Args:
        network: On the device of `x`.
        x: An input.
        prepare: Gives the run of such inputs in the order that the network then has. It is not used
            after the next call, for the weights it reads are elsewhere by then.
        seconds: Times a run.

    Raises:
        torch.OutOfMemoryError: There is no room to try; it is arranged as all begin then.
    """
    first, *_ = ORDERS
    fastest, times = first, {}
    try:
        for name, order in ORDERS.items():
            network.arrange(order)
            times[name] = seconds(prepare(), x)
        fastest = min(times, key=times.__getitem__)
    finally:
        # Where one has no room for a trial it stays as it was, not in the order that failed.
        network.arrange(ORDERS[fastest])
    measured = ", ".join(f"{name} {time * 1000:.2f} ms" for name, time in times.items())
    _log.info("%s, input %s: %s; it stays with %s", x.device, tuple(x.shape), measured, fastest)
