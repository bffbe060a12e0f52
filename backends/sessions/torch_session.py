"""`TorchSession`: one network in torch, with CUDA graphs for the shapes that keep coming."""

from __future__ import annotations

import logging
import threading
from functools import partial

import torch
from torch import Tensor, nn

from ...utils.free_memory import is_out_of_memory
from ...utils.isolation import isolated
from ...utils.precision import full_float32
from ..placement import RunsOn
from .memory_format import Arrangeable, autotune
from .running import torch_memory_errors
from .shape_cache import Run, ShapeCache, captured

_log = logging.getLogger("FastFace")


class TorchSession:
    """One opened network; safe to run from several threads."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        runs_on: RunsOn,
        captures: bool = True,
        compiles: bool = False,
    ) -> None:
        """
        Args:
            network: On `device` in `dtype` already; gives a tuple of tensors.
            device, dtype: Of the network.
            runs_on: What is said of it.
            captures: Whether shapes that keep coming are worth a CUDA graph: not where more shapes
                take turns than are kept.
            compiles: Whether `torch.compile` is used for shapes that keep coming.
        """
        self.raw = network
        self.device = device
        self.runs_on = runs_on
        self._dtype = dtype
        self._captures = captures
        self._compiles = compiles
        # Until its order is found. Compiled code is for one, and takes too long for a trial.
        self._to_arrange = network if isinstance(network, Arrangeable) and not compiles else None
        self._recurring = ShapeCache()
        # A captured run writes into memory of its own: one at a time.
        self._lock = threading.Lock()

    @isolated()
    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on `device`, of any dtype: it is cast to the network's.
            more: Its further inputs, likewise. With those of one shape they are the same each time.

        Returns:
            The graph's outputs in its order, on `device`, in the network's dtype.

        Raises:
            OutOfMemory: With what torch raised as its cause.
        """
        with torch_memory_errors(x, self.runs_on):
            x, *others = (each.to(self._dtype) for each in (x, *more))
            # With TF32 embeddings would differ from those of the CPU.
            with full_float32(self.device):
                if self.device.type != "cuda" and not self._compiles:
                    return self.raw(x, *others)
                with self._lock:
                    shapes = tuple(tuple(each.shape) for each in (x, *others))

                    def plain(x: Tensor) -> tuple[Tensor, ...]:
                        return self.raw(x, *others)

                    prepare = partial(self._prepare, x, plain)
                    return self._recurring.runner_for(shapes, plain, prepare)(x)

    def leave_device(self) -> None:
        """Moves the weights to main memory; what was prepared goes."""
        with self._lock:
            self._recurring.forget()
            self.raw.to("cpu")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def return_to_device(self) -> None:
        """Moves the weights back."""
        with self._lock:
            self.raw.to(self.device)

    def _prepare(self, x: Tensor, plain: Run) -> Run:
        """The fastest way to run inputs of this shape, worth a few runs to find."""
        way = self._compiled(x, plain) if self._compiles else plain
        if self.device.type != "cuda" or not self._captures:
            return way
        network, self._to_arrange = self._to_arrange, None
        if network is not None:
            autotune(network, x, lambda: self._recorded(way, x))
        return self._recorded(way, x)

    def _recorded(self, way: Run, x: Tensor) -> Run:
        order = getattr(self.raw, "memory_format", torch.channels_last)
        return captured(way, x.to(memory_format=order)) or way

    def _compiled(self, x: Tensor, plain: Run) -> Run:
        from torch.fx.experimental.proxy_tensor import make_fx

        try:
            # Traced first: what the graph works out from the shape is no work for the compiler.
            way: Run = torch.compile(make_fx(plain)(x), fullgraph=True, dynamic=False)
            way(x)
        except RuntimeError as error:  # of the compiler, or for lack of one
            if is_out_of_memory(error):
                raise
            self._compiles = False
            _log.warning("%s goes on without torch.compile, which failed: %s", self.runs_on, error)
            return plain
        return way
