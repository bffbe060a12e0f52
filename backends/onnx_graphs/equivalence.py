"""Graphs on trial: run on the CPU, to hold their answers against each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils.errors import ModelError, OutOfMemory
from ...utils.files import source_for_libraries
from ...utils.free_memory import is_out_of_memory
from ...utils.packs import ModelFile
from ...utils.telemetry import decline_events
from ..providers.check import installed_distributions
from ..providers.provider_probe import runtime_errors
from .graph import graph_of, read_model
from .network import Network

#: Largest difference between two answers, relative to the largest value; and of numbers of 16 bits,
#: which are rounded to 5e-4 after every layer.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 5e-3

#: Runs a graph on its inputs, the images first.
Runner = Callable[..., list[np.ndarray]]


class Untried(ModelError):
    """What was made of a graph can't be run here just now, so nothing is known of its answers."""


class Unrunnable(Untried):
    """A graph as it was released can't be run here at the sizes at which it was tried."""


def prover() -> str:
    """Name and version of what runs graphs on trial, without importing it."""
    runtimes = " ".join(f"{name} {version}" for name, version in installed_distributions())
    return runtimes or f"torch {torch.__version__}"


def random_images(
    random: np.random.Generator, shape: tuple[int, ...], model: ModelFile
) -> np.ndarray:
    """Noise in the range and type of a model's input."""
    images = (random.random(shape, dtype=np.float32) - 0.5) * 2
    if model.input_dtype == "uint8":
        return ((images + 1) * 127).astype(np.uint8)
    return images.astype(model.input_dtype)


def difference(singles: list[list[np.ndarray]], batch: list[np.ndarray]) -> str | None:
    """Where the outputs for a batch are not those for its images, in a few words; None if nowhere.

    Args:
        singles: The outputs for each image.
        batch: Those for all together, each with a leading axis for the image.
    """
    for number, (outputs, got) in enumerate(zip(zip(*singles, strict=True), batch, strict=True)):
        if got.size != sum(output.size for output in outputs) or len(got) != len(singles):
            return f"output {number} has shape {got.shape}"
        # The original's results may lack the image axis that the rewritten ones have.
        want = np.stack([output.reshape(got.shape[1:]) for output in outputs])
        tolerance = _HALF_TOLERANCE if got.dtype == np.float16 else _TOLERANCE
        largest = float(np.abs(got - want).max())
        if not largest <= tolerance * max(1.0, float(np.abs(want).max())):
            return f"output {number} by {largest:.3g}"
    return None


def trial_runner(graph: Any, file: ModelFile) -> Runner:
    """Runs a graph on the CPU, in ONNX Runtime where that is installed and can, else in torch.

    Raises:
        ModelError: Neither can run it; now, or when the returned function is called.
        OutOfMemory: There is too little memory for it; then, too.
    """
    try:
        import onnxruntime
    except ImportError:
        return _torch_runner(graph, file)
    decline_events(onnxruntime)
    errors = runtime_errors(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong with it is said by whoever opens it to use it
    try:
        # A path spares the memory for a second and third copy of the weights.
        is_path = isinstance(graph, Path)
        content = source_for_libraries(graph) if is_path else graph.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except errors as error:
        if is_out_of_memory(error):
            raise _failed(file, "", error) from error
        return _torch_runner(graph, file)
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        try:
            feed = dict(zip(names, inputs, strict=True))
            return [np.asarray(output) for output in session.run(None, feed)]
        except errors as error:
            raise _failed(file, "", error) from error

    return run


def _torch_runner(graph: Any, file: ModelFile) -> Runner:
    model = read_model(graph) if isinstance(graph, Path) else graph
    network = Network(graph_of(model, file.path.name)).eval()

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        try:
            with torch.inference_mode():
                return [output.numpy() for output in network(*map(torch.from_numpy, inputs))]
        except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
            raise _failed(file, " in torch", error) from error

    return run


def _failed(file: ModelFile, where: str, error: Exception) -> ModelError | OutOfMemory:
    kind = OutOfMemory if is_out_of_memory(error) else ModelError
    return kind(f"{file.path.name} can't be run{where}: {error}")
