"""`TorchSession`: one network in torch, with CUDA graphs for the shapes that keep coming."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from ...utils.errors import OutOfMemory
from ..base import RunsOn

#: A shape is captured when it comes for this time: capturing costs as much as a few runs.
_CAPTURE_AT = 3
_CAPTURED_SHAPES = 4


@dataclass
class _Capture:
    """A recorded run: what it reads, what it writes, and how to do it again."""

    graph: torch.cuda.CUDAGraph
    source: Tensor
    results: tuple[Tensor, ...]


class TorchSession:
    """One opened network; safe to run from several threads."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        runs_on: RunsOn,
        captures: bool = True,
    ) -> None:
        """
        Args:
            network: On `device` in `dtype` already; takes one tensor and gives a tuple of tensors.
            device: Where it is.
            dtype: What it computes in.
            runs_on: What is known about that.
            captures: Whether shapes that keep coming are worth a CUDA graph: not where more shapes
                take turns than are kept.
        """
        self.raw = network
        self.device = device
        self.runs_on = runs_on
        self._dtype = dtype
        self._capturing = captures
        self._seen: LRUCache = LRUCache(maxsize=64)
        self._captures: LRUCache = LRUCache(maxsize=_CAPTURED_SHAPES)
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
            if self.device.type != "cuda":
                return self.raw(x)
            # TF32 keeps 10 bits of the mantissa: embeddings would differ from those of the CPU.
            with self._lock, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                return self._run_captured(x)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{self.runs_on} ran out of memory for input {tuple(x.shape)}: use fewer images at "
                "a time or a smaller det_size, or free memory by unloading models"
            ) from error

    def leave_device(self) -> None:
        """Moves the weights to main memory; what was captured goes."""
        with self._lock:
            self._captures.clear()
            self.raw.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def return_to_device(self) -> None:
        """Moves the weights back."""
        with self._lock:
            self.raw.to(self.device)

    def _run_captured(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self._capturing:
            return self.raw(x)
        shape = tuple(x.shape)
        capture = self._captures.get(shape)
        if capture is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] < _CAPTURE_AT:
                return self.raw(x)
            capture = self._captures[shape] = self._capture(x)
        capture.source.copy_(x)
        capture.graph.replay()
        return tuple(result.clone() for result in capture.results)

    def _capture(self, x: Tensor) -> _Capture:
        source = x.clone(memory_format=torch.channels_last)
        # Libraries set themselves up in the first runs, which must not be recorded, and recording
        # must happen on a stream of its own.
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            self.raw(source)
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            results = self.raw(source)
        return _Capture(graph, source, results)
