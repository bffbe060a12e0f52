"""`TrtSession`: one TensorRT engine; torch tensors in, torch tensors out, nothing copied."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ...utils.errors import BackendUnavailable, InvalidInput, ModelError, OutOfMemory
from ...utils.free_memory import speaks_of_shortage
from ..placement import RunsOn
from ..trt.library import Library
from ..trt.profile import covers, shape_range
from .running import torch_memory_errors
from .shape_cache import Run, ShapeCache, captured

_DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}


class TrtSession:
    """One opened engine; safe to run from several threads.

    It reads its input and writes its results where torch has them, on torch's own stream. Its
    scratch memory is torch's too, and given back after each run.
    """

    def __init__(
        self,
        library: Library,
        serialized: bytes,
        device: torch.device,
        runs_on: RunsOn,
        name: str,
        outputs: Sequence[str],
        cuda_graphs: bool = False,
    ) -> None:
        """
        Args:
            library: The one that built the engine.
            serialized: The engine, known to be whole: a damaged one may end the process.
            device: The CUDA device to run on.
            runs_on: What is said of it.
            name: Names the engine in errors.
            outputs: Names of the results, in the order of the graph.
            cuda_graphs: Whether shapes that keep coming are run as CUDA graphs.

        Raises:
            BackendUnavailable: The library does not take the engine here.
            ModelError: The engine is not of a network with one image input.
        """
        self.device = device
        self.runs_on = runs_on
        self._library = library
        self._name = name
        with torch.cuda.device(device):
            library.complaints()
            self._runtime = library.module.Runtime(library.logger)
            engine = self._runtime.deserialize_cuda_engine(serialized)
            self._context = engine and library.create_context(engine, cuda_graphs)
            if self._context is None:
                raise BackendUnavailable(
                    f"{library} does not take {name} on {device}: {library.complaints()}; build "
                    "it again with the node FastFace Build Engine"
                )
            # TensorRT waits for the whole device where it is given the default stream.
            self._side = torch.cuda.Stream(device)
        self.raw = engine
        self._outputs = tuple(outputs)
        self._input = self._input_beside(self._outputs)
        self._dtype = self._dtype_of(self._input)
        least, best, most = (tuple(s) for s in engine.get_tensor_profile_shape(self._input, 0))
        self._shapes = (least, best, most)
        # tensorrt_rtx makes CUDA graphs by itself where it is told to.
        self._recurring = ShapeCache() if cuda_graphs and not library.is_rtx else None
        # A context holds the shapes and addresses of one run.
        self._lock = threading.Lock()

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the engine; the caller owns the results. Does not wait for the device.

        Args:
            x: `[B,C,H,W]` on `device`, of any dtype: it is cast to the engine's. More images than
                the profile's most run in pieces.

        Returns:
            The graph's outputs in its order, on `device`.

        Raises:
            InvalidInput: `x` is elsewhere, or outside the profile.
            OutOfMemory: The card has too little memory left.
            BackendUnavailable: The engine failed otherwise.
        """
        if x.device != self.device:
            raise InvalidInput(
                f"{self._name}: got a tensor on {x.device}, expected it on {self.device}; move it "
                "with x.to(session.device)"
            )
        pieces = x.split(self._shapes[2][0]) if x.ndim and len(x) else (x,)
        for piece in pieces:
            if not covers(self._shapes, piece.shape):
                raise InvalidInput(
                    f"{self._name}: got a tensor of shape {tuple(x.shape)}, and the engine's "
                    f"profile is {shape_range(self._shapes)}; choose a size within, or build an "
                    "engine for others with the node FastFace Build Engine"
                )
        with torch_memory_errors(x, self.runs_on), self._lock:
            results = [self._run_piece(piece.to(self._dtype).contiguous()) for piece in pieces]
        if len(results) == 1:
            return results[0]
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))

    def _run_piece(self, x: Tensor) -> tuple[Tensor, ...]:
        if self._recurring is None:
            return self._enqueue(x)
        return self._recurring.runner_for(
            tuple(x.shape), self._enqueue, partial(self._recorded, x)
        )(x)

    def _enqueue(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queues one run on torch's current stream, or beside it where that is the default one."""
        context = self._context
        with torch.cuda.device(self.device):
            self._accepted(context.set_input_shape(self._input, tuple(x.shape)), x)
            scratch_bytes = context.update_device_memory_size_for_shapes()
            scratch = torch.empty(max(1, scratch_bytes), dtype=torch.uint8, device=self.device)
            context.set_device_memory(scratch.data_ptr(), scratch_bytes)
            results = tuple(self._empty(name) for name in self._outputs)
            tensors = zip((self._input, *self._outputs), (x, *results), strict=True)
            for name, tensor in tensors:
                self._accepted(context.set_tensor_address(name, tensor.data_ptr()), x)
            current = torch.cuda.current_stream(self.device)
            stream = current if current.cuda_stream else self._side
            # Memory that torch hands on after this is used on the current stream, after the run:
            # so the two streams waiting for each other is all the order there has to be.
            if stream is not current:
                stream.wait_stream(current)
            self._accepted(context.execute_async_v3(stream.cuda_stream), x)
            if stream is not current:
                current.wait_stream(stream)
        return results

    def _recorded(self, x: Tensor) -> Run | None:
        return captured(self._enqueue, x)

    def _empty(self, name: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        return torch.empty(shape, dtype=self._dtype_of(name), device=self.device)

    def _accepted(self, done: bool, x: Tensor) -> None:
        if not done:
            complaints = self._library.complaints()
            kind = OutOfMemory if speaks_of_shortage(complaints) else BackendUnavailable
            raise kind(
                f"{self._name}: {self._library} failed for {tuple(x.shape)}: {complaints}; build "
                "the engine again, or choose the torch backend"
            )

    def _input_beside(self, outputs: Sequence[str]) -> str:
        engine, mode = self.raw, self._library.module.TensorIOMode
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == mode.INPUT]
        if len(inputs) != 1 or set(names) - set(inputs) != set(outputs):
            raise ModelError(
                f"{self._name} has the inputs {inputs} and in all {names}; expected one image and "
                f"the outputs {list(outputs)}: build it again"
            )
        return inputs[0]

    def _dtype_of(self, name: str) -> torch.dtype:
        word = self.raw.get_tensor_dtype(name).name
        if word not in _DTYPES:
            raise ModelError(f"{self._name}: tensor {name!r} is of type {word}, which torch lacks")
        return _DTYPES[word]
