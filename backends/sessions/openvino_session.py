"""`OpenVinoSession`: one graph compiled by OpenVINO; torch tensors in and out, on the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...utils.errors import ModelError
from ..placement import RunsOn
from .refusals import check_input, explained

#: Types of a graph's image input.
_DTYPES: dict[str, torch.dtype] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "f64": torch.float64,
    "u8": torch.uint8,
}
#: Types of outputs that torch and numpy have too.
_OUTPUT_TYPES = {*_DTYPES, "i8", "i16", "i32", "i64", "boolean"}


class OpenVinoSession:
    """One opened network; safe to run from several threads, each with a request of its own."""

    def __init__(self, compiled: Any, runs_on: RunsOn, file_name: str) -> None:
        """Takes over a CompiledModel.

        Args:
            compiled: The CompiledModel.
            runs_on: What is said of it.
            file_name: Names the graph in errors.

        Raises:
            ModelError: The graph doesn't take one image tensor, or doesn't give numbers.
        """
        inputs = compiled.inputs
        given = {port.get_element_type().to_string() for port in compiled.outputs}
        if odd := given - _OUTPUT_TYPES:
            raise ModelError(
                f"{file_name} has outputs of the types {', '.join(sorted(odd))}; expected numbers: "
                "this is not a face network, remove it from the pack"
            )
        types = [port.get_element_type().to_string() for port in inputs]
        if len(inputs) != 1 or types[0] not in _DTYPES:
            raise ModelError(
                f"{file_name} has inputs of the types {', '.join(types) or 'none'}; expected one "
                f"image tensor of type {', '.join(_DTYPES)}: this is not a face network, remove it "
                "from the pack"
            )
        self.raw = compiled
        self.runs_on = runs_on
        self.device = torch.device("cpu")
        self._dtype = _DTYPES[types[0]]
        self._shape = tuple(
            side.get_length() if side.is_static else None for side in inputs[0].partial_shape
        )
        self._file_name = file_name
        # Requests that no thread uses just now: each holds the memory for a run. Taking one and
        # adding one are safe between threads.
        self._idle: list[Any] = []

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on the CPU, of any dtype: it is cast to the graph's. Not copied when it
                is contiguous and has that dtype already.

        Returns:
            The graph's outputs in its order, on the CPU.

        Raises:
            InvalidInput: `x` is empty, elsewhere, or not of the graph's shape.
            OutOfMemory: There is too little memory for it.
            BackendUnavailable: The GPU failed otherwise.
            ModelError: The graph can't be computed for this input.
        """
        check_input(x, self.device, self._shape, self._file_name)
        pixels = x.detach().to(self._dtype).contiguous().numpy()
        try:
            request = self._idle_request()
            results = request.infer([pixels], share_inputs=True, share_outputs=False)
        except (RuntimeError, MemoryError) as error:
            on_cpu = self.runs_on.device.startswith("cpu")
            raise explained(error, x, self._file_name, self.runs_on, on_cpu) from error
        self._idle.append(request)
        return tuple(torch.from_numpy(results[port]) for port in self.raw.outputs)

    def _idle_request(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.raw.create_infer_request()
