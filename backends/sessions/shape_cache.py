"""Shapes that keep coming: prepared for once, and run faster from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from cachetools import LRUCache
from torch import Tensor

from ...utils.errors import FastFaceError
from ...utils.free_memory import is_out_of_memory

_log = logging.getLogger("FastFace")

#: A shape is prepared for when it comes for this time: that costs as much as a few runs.
_PREPARE_AT = 3
_PREPARED_SHAPES = 4

Run = Callable[[Tensor], tuple[Tensor, ...]]
#: Whatever a session runs inputs with.
Runner = TypeVar("Runner")


class ShapeCache(Generic[Runner]):
    """Remembers shapes, and how to run those that keep coming. Not for several threads at once."""

    def __init__(self) -> None:
        self._seen: LRUCache[Hashable, int] = LRUCache(maxsize=64)
        self._prepared: LRUCache[Hashable, Runner | None] = LRUCache(maxsize=_PREPARED_SHAPES)

    def runner_for(
        self, shape: Hashable, plain: Runner, prepare: Callable[[], Runner | None]
    ) -> Runner:
        """The fastest way there is yet to run inputs of a shape.

        Args:
            shape: The shape; where there are several inputs, the shapes of all.
            plain: Runs any input. It is not kept: it may belong to what keeps this.
            prepare: Gives the fastest way to run inputs of this shape, or None where that is the
                plain one.
        """
        if shape not in self._prepared:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] < _PREPARE_AT:
                return plain
            self._prepared[shape] = prepare()
        prepared = self._prepared[shape]
        return plain if prepared is None else prepared

    def forget(self) -> None:
        """Lets go of what was prepared, and of its memory."""
        self._prepared.clear()


@dataclass
class Capture:
    """A recorded run: what it reads, what it writes, and how to do it again."""

    graph: torch.cuda.CUDAGraph
    source: Tensor
    results: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        self.source.copy_(x)
        self.graph.replay()
        return tuple(result.clone() for result in self.results)


def captured(way: Run, x: Tensor) -> Run | None:
    """Records a run on the device of `x` as a CUDA graph.

    Args:
        way: Runs inputs of this shape on the current stream, without waiting for it.
        x: An input, which is copied with its strides: they may decide which kernels run.

    Returns:
        The recorded run; None where it can't be recorded, which the log tells.
    """
    try:
        return _recorded(way, x)
    except RuntimeError as error:  # of the driver, about something that can't be recorded
        if isinstance(error, FastFaceError) or is_out_of_memory(error):
            raise
        _log.warning("%s goes on without a CUDA graph for %s: %s", x.device, tuple(x.shape), error)
        return None


def _recorded(way: Run, x: Tensor) -> Capture:
    source = x.clone()
    # Libraries set themselves up in the first runs, which must not be recorded, and recording
    # must happen on a stream of its own.
    side = torch.cuda.Stream(x.device)
    side.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(side):
        way(source)
    torch.cuda.current_stream(x.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on: by default a preview that one of them brings to the device meanwhile
    # would be an error in both.
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        results = way(source)
    return Capture(graph, source, results)
