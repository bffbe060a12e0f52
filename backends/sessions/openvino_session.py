"""`OpenVinoSession`: one graph compiled by OpenVINO; torch tensors in and out, on the host."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils.errors import BackendUnavailable, FastFaceError, ModelError, OutOfMemory
from ...utils.progress import raised_by_listener
from ..onnx_graphs.graph import is_image_alone
from ..placement import RunsOn
from .running import check_input, endings, explained
from .shape_cache import ShapeCache

_log = logging.getLogger("FastFace")

#: Types of a graph's image input.
_DTYPES: dict[str, torch.dtype] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "f64": torch.float64,
    "u8": torch.uint8,
}
#: Types of outputs that torch and numpy have too.
_OUTPUT_TYPES = {*_DTYPES, "i8", "i16", "i32", "i64", "boolean"}

#: Of each input.
Shapes = tuple[tuple[int, ...], ...]


class OpenVinoSession:
    """One opened network; safe to run from several threads, one after the other.

    Compiled for latency, OpenVINO itself runs one request at a time. Shapes that keep coming are
    compiled for, where that is asked for: in one compilation for all shapes much of a short run is
    spent on working out shapes and on memory.
    """

    def __init__(
        self,
        compiled: Any,
        runs_on: RunsOn,
        file_name: str,
        compile_again: Callable[[], Any],
        compile_for: Callable[[Shapes], Any] | None = None,
        channels_last: bool = False,
    ) -> None:
        """Takes over a CompiledModel.

        Args:
            compiled: The CompiledModel.
            runs_on: What is said of it.
            file_name: Names the graph in errors.
            compile_again: Gives another one: one that failed in a run is of no more use.
            compile_for: Gives one for inputs of some shapes alone. Its answers may differ in the
                last digits of the precision that it computes in.
            channels_last: Whether it takes images `[B,H,W,C]`.

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
        if not is_image_alone([port.any_name for port in inputs]) or types[0] not in _DTYPES:
            raise ModelError(
                f"{file_name} has inputs of the types {', '.join(types) or 'none'}; expected one "
                f"image tensor of type {', '.join(_DTYPES)}: this is not a face network, remove it "
                "from the pack"
            )
        self._compiled: Any = compiled
        self._compile_again = compile_again
        self._compile_for = compile_for
        self._request: Any = None
        self._requests: ShapeCache[Any] = ShapeCache()
        self._lock = threading.Lock()
        self.runs_on = runs_on
        self.device = torch.device("cpu")
        self._dtype = _DTYPES[types[0]]
        shape = [side.get_length() if side.is_static else None for side in inputs[0].partial_shape]
        self._channels_last = channels_last
        self._shape = (shape[0], shape[3], *shape[1:3]) if channels_last else tuple(shape)
        self._file_name = file_name

    @property
    def raw(self) -> Any:
        """The CompiledModel."""
        with self._lock:
            return self._whole()

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Runs the network; the caller owns the results.

        Args:
            x: `[B,C,H,W]` on the CPU, of any dtype: it is cast to the graph's. Not copied when it
                has that dtype already and lies in memory as the graph takes it.
            more: The graph's further inputs, likewise, as planes.

        Returns:
            The graph's outputs in its order, on the CPU.

        Raises:
            InvalidInput: `x` is empty, elsewhere, or not of the graph's shape.
            OutOfMemory: There is too little memory for it.
            BackendUnavailable: The GPU failed otherwise.
            ModelError: The graph can't be computed for this input.
            BaseException: What whoever listens to this thread's work raised; it ends the run.
        """
        check_input(x, self.device, self._shape, self._file_name)
        image = x.permute(0, 2, 3, 1) if self._channels_last else x
        given = [each.detach().to(self._dtype).contiguous() for each in (image, *more)]
        inputs = [each.numpy() for each in given]
        try:
            with self._lock:
                results = self._infer(inputs)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, FastFaceError) or raised_by_listener(error):
                raise
            on_cpu = self.runs_on.device.startswith("cpu")
            raise explained(error, x, self._file_name, self.runs_on, on_cpu) from error
        return tuple(torch.from_numpy(result) for result in results)

    def _infer(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        request = self._request_for(tuple(each.shape for each in inputs))
        try:
            endings.run(partial(_run_request, request, inputs), request.cancel)
        except BaseException:
            # OpenVINO 2026.4: after a run that was cancelled, or for which memory ran out, later
            # ones, of new requests too, may answer for the failed run's input.
            self._compiled = self._request = None
            self._requests.forget()
            raise
        return [tensor.data.copy() for tensor in request.output_tensors]

    def _request_for(self, shapes: Shapes) -> Any:
        compiled = self._whole()
        if self._request is None:
            self._request = compiled.create_infer_request()
        if self._compile_for is None:
            return self._request
        prepare = partial(self._request_of_its_own, self._compile_for, shapes)
        return self._requests.runner_for(shapes, self._request, prepare)

    def _request_of_its_own(self, compile_for: Callable[[Shapes], Any], shapes: Shapes) -> Any:
        """A request for some shapes alone; None where the one for all shapes has to do."""
        try:
            return compile_for(shapes).create_infer_request()
        except (BackendUnavailable, ModelError, OutOfMemory) as error:
            _log.warning("%s goes on as it was compiled for all shapes: %s", shapes, error)
            return None

    def _whole(self) -> Any:
        if self._compiled is None:
            try:
                self._compiled = self._compile_again()
            except ModelError as error:
                # It was good before: whoever keeps this session opens another.
                raise BackendUnavailable(f"it could not be compiled again: {error}") from error
        return self._compiled


def _run_request(request: Any, inputs: list[np.ndarray]) -> None:
    from openvino import Tensor

    # One by one, where they lie: working out what a list of them is takes 0.3 ms of Python.
    for place, values in enumerate(inputs):
        request.set_input_tensor(place, Tensor(values, shared_memory=True))
    # Not `infer`: on a single core OpenVINO 2026.4 runs that to its end, cancelled or not.
    request.start_async()
    request.wait()
