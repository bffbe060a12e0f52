"""`OrtSession`: one graph opened in ONNX Runtime; torch tensors in, torch tensors out."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils.errors import ModelError
from ...utils.progress import raised_by_listener
from ..onnx_graphs.graph import is_image_alone
from ..placement import RunsOn
from ..providers.provider_table import CPU
from .running import check_input, endings, explained

#: Types of a graph's image input: torch's and numpy's for each of ONNX Runtime's.
_DTYPES: dict[str, tuple[torch.dtype, type[np.generic]]] = {
    "tensor(float)": (torch.float32, np.float32),
    "tensor(float16)": (torch.float16, np.float16),
    "tensor(double)": (torch.float64, np.float64),
    "tensor(uint8)": (torch.uint8, np.uint8),
}
#: Types of outputs that torch and numpy have too.
_OUTPUT_TYPES = (
    *(f": {kind}" for kind in _DTYPES),
    *(f": tensor({kind})" for kind in ("int8", "int16", "int32", "int64", "bool")),
)


class OrtSession:
    """One opened network; safe to run from several threads."""

    def __init__(
        self,
        raw: Any,
        runs_on: RunsOn,
        binds_on: torch.device | None,
        file_name: str,
        errors: tuple[type[Exception], ...],
    ) -> None:
        """Takes over an InferenceSession.

        Args:
            raw: The InferenceSession.
            runs_on: What was found out about it.
            binds_on: The device whose memory the provider reads in place; None when tensors go
                through host memory.
            file_name: Names the graph in errors.
            errors: What the runtime raises.

        Raises:
            ModelError: The graph doesn't take one image tensor, or doesn't give numbers.
        """
        inputs = raw.get_inputs()
        if not is_image_alone([entry.name for entry in inputs]) or inputs[0].type not in _DTYPES:
            got = ", ".join(f"{entry.name}: {entry.type}" for entry in inputs) or "none"
            raise ModelError(
                f"{file_name} has the inputs {got}; expected one image tensor of type "
                f"{', '.join(_DTYPES)}: this is not a face network, remove it from the pack"
            )
        odd = [f"{entry.name}: {entry.type}" for entry in raw.get_outputs()]
        odd = [entry for entry in odd if not entry.endswith(_OUTPUT_TYPES)]
        if odd:
            raise ModelError(
                f"{file_name} has the outputs {', '.join(odd)}; expected tensors of numbers: this "
                "is not a face network, remove it from the pack"
            )
        self.raw = raw
        self.runs_on = runs_on
        self._inputs: list[str] = [entry.name for entry in inputs]
        self._shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        self._dtype, self._numpy_dtype = _DTYPES[inputs[0].type]
        self._outputs: list[str] = [entry.name for entry in raw.get_outputs()]
        self._file_name = file_name
        self._errors = errors
        self._binds = binds_on is not None
        self.device = binds_on or torch.device("cpu")
        # The CPU provider may run one session from many threads. DirectML may not, and on a GPU
        # two runs would only wait for each other while sharing a provider's scratch memory.
        self._lock = contextlib.nullcontext() if runs_on.provider == CPU else threading.Lock()

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on `device`, of any dtype: it is cast to the graph's. Not copied when it
                is contiguous and has that dtype already.
            more: The graph's further inputs, likewise.

        Returns:
            The graph's outputs in its order, on `device`.

        Raises:
            InvalidInput: `x` is empty, elsewhere, or not of the graph's shape.
            OutOfMemory: The provider has too little memory for it.
            BackendUnavailable: The provider failed otherwise.
            ModelError: The graph can't be computed for this input.
            BaseException: What whoever listens to this thread's work raised; it ends the run.
        """
        check_input(x, self.device, self._shape, self._file_name)
        given = [each.detach().to(self._dtype).contiguous() for each in (x, *more)]
        try:
            with self._lock:
                return self._run(given)
        except self._errors as error:
            if raised_by_listener(error):
                raise
            on_cpu = self.runs_on.provider == CPU
            raise explained(error, x, self._file_name, self.runs_on, on_cpu) from error

    def _run(self, given: list[Tensor]) -> tuple[Tensor, ...]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        run = self._run_bound if self._binds else self._run_on_host
        return endings.run(
            partial(run, given, options), partial(setattr, options, "terminate", True)
        )

    def _run_on_host(self, given: list[Tensor], options: Any) -> tuple[Tensor, ...]:
        feed = {name: each.numpy() for name, each in zip(self._inputs, given, strict=True)}
        results = self.raw.run(self._outputs, feed, options)
        return tuple(torch.from_numpy(result) for result in results)

    def _run_bound(self, given: list[Tensor], options: Any) -> tuple[Tensor, ...]:
        # The runtime computes on a stream of its own, which knows nothing of torch's: what torch
        # has queued to make them must be done before the runtime reads them.
        stream = torch.cuda.current_stream(self.device)
        stream.synchronize()
        binding = self.raw.io_binding()
        where = (self.device.type, self.device.index or 0)
        for name, each in zip(self._inputs, given, strict=True):
            shape, address = tuple(each.shape), each.data_ptr()
            binding.bind_input(name, *where, self._numpy_dtype, shape, address)
        for name in self._outputs:
            # Without a buffer the runtime allocates: only it knows how many rows there will be.
            binding.bind_output(name, *where)
        # Returns when the runtime's stream is done.
        self.raw.run_with_iobinding(binding, options)
        values = binding.get_outputs_as_ortvaluevector()
        # Cloned, because the runtime's arena would hand the memory to its next run as soon as torch
        # lets go of it, even while torch's stream is still reading; and it dies with the session.
        results = tuple(torch.from_dlpack(values[i]).clone() for i in range(len(self._outputs)))
        stream.synchronize()
        return results
