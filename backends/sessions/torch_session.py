"""`TorchSession`: one network in torch, with CUDA graphs for the shapes that keep coming."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from ...utils.errors import OutOfMemory
from ..base import RunsOn

_log = logging.getLogger("FastFace")

#: A shape is prepared for when it comes for this time: that costs as much as a few runs.
_PREPARE_AT = 3
_PREPARED_SHAPES = 4

Run = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass
class _Capture:
    """A recorded run: what it reads, what it writes, and how to do it again."""

    graph: torch.cuda.CUDAGraph
    source: Tensor
    results: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        self.source.copy_(x)
        self.graph.replay()
        return tuple(result.clone() for result in self.results)


class TorchSession:
    """One opened network; safe to run from several threads."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        runs_on: RunsOn,
        compiles: bool = False,
        prepares: bool = True,
    ) -> None:
        """
        Args:
            network: On `device` in `dtype` already; takes one tensor and gives a tuple of tensors.
            device, dtype: Of the network.
            runs_on: What is said of it.
            compiles: Whether `torch.compile` is used for shapes that keep coming.
            prepares: Whether shapes that keep coming are prepared for at all: that is lost work
                where more of them take turns than are kept.
        """
        self.raw = network
        self.device = device
        self.runs_on = runs_on
        self._dtype = dtype
        self._compiles = compiles
        self._prepares = prepares
        self._seen: LRUCache = LRUCache(maxsize=64)
        self._prepared: LRUCache = LRUCache(maxsize=_PREPARED_SHAPES)
        # A captured run writes into memory of its own: one at a time.
        self._lock = threading.Lock()

    @torch.inference_mode()
    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on `device`, of any dtype: it is cast to the network's.

        Returns:
            The graph's outputs in its order, on `device`, in the network's dtype.

        Raises:
            OutOfMemory: With `torch.OutOfMemoryError` as its cause.
        """
        x = x.to(self._dtype)
        try:
            if self.device.type != "cuda" and not self._compiles:
                return self.raw(x)
            with self._lock, self._exact():
                return self._way_for(x)(x)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{self.runs_on} ran out of memory for input {tuple(x.shape)}: use fewer images at "
                "a time or a smaller det_size, or free memory by unloading models"
            ) from error

    def leave_device(self) -> None:
        """Moves the weights to main memory; what was prepared goes."""
        with self._lock:
            self._prepared.clear()
            self.raw.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def return_to_device(self) -> None:
        """Moves the weights back."""
        with self._lock:
            self.raw.to(self.device)

    def _exact(self) -> contextlib.AbstractContextManager[None]:
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        # TF32 keeps 10 bits of the mantissa: embeddings would differ from those of the CPU.
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

    def _way_for(self, x: Tensor) -> Run:
        """The fastest way there is yet to run an input of this shape."""
        if not self._prepares:
            return self.raw
        shape = tuple(x.shape)
        way = self._prepared.get(shape)
        if way is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] < _PREPARE_AT:
                return self.raw
            way = self._compiled(x) if self._compiles else self.raw
            if self.device.type == "cuda":
                way = self._captured(way, x)
            self._prepared[shape] = way
        return way

    def _compiled(self, x: Tensor) -> Run:
        from torch.fx.experimental.proxy_tensor import make_fx

        try:
            # Traced first: what the graph works out from the shape is no work for the compiler.
            way: Run = torch.compile(make_fx(self.raw)(x), fullgraph=True, dynamic=False)
            way(x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of the compiler, or for lack of one
            self._compiles = False
            _log.warning("%s goes on without torch.compile, which failed: %s", self.runs_on, error)
            return self.raw
        return way

    def _captured(self, way: Run, x: Tensor) -> _Capture:
        source = x.clone(memory_format=torch.channels_last)
        # Libraries set themselves up in the first runs, which must not be recorded, and recording
        # must happen on a stream of its own.
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            way(source)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            results = way(source)
        return _Capture(graph, source, results)
