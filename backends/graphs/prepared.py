"""Graphs made ready for batches: rewritten once, held against the original, kept on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils import host
from ...utils.errors import ModelError
from ...utils.files import write_whole
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_sha256
from ..providers.probe import runtime_errors
from .batch_axis import image_shape, with_batch_axis
from .graph import graph_of, read_model
from .network import Network

_log = logging.getLogger("FastFace")
_lock = threading.Lock()

#: Part of the cached files' names; raised when the rewriting changes.
VERSION = 1

#: Largest difference between a batch and single images, relative to the largest value.
_TOLERANCE = 1e-4

#: Input sizes (height, width) at which graphs of open size are tried; not square, so that mixed-up
#: axes show.
_TRIAL_SIZES = ((96, 160), (128, 64))
_TRIAL_IMAGES = 3


@dataclass(frozen=True)
class PreparedGraph:
    """A graph to open.

    Attributes:
        path: The rewritten file, or the original.
        takes_batches: Whether it takes any number of images; its outputs then all lead with them.
        note: Why it does not, in one line; empty when it does.
    """

    path: Path
    takes_batches: bool
    note: str = ""


def prepared_graph(model: ModelFile) -> PreparedGraph:
    """The graph of a model with a batch axis, as released, made now, or found in the cache.

    A batch is run only after its answers were those of the original, image by image; that holds for
    graphs that are released with a batch axis too, for some of those have a 1 somewhere inside.
    Where it can't be shown, the original is given back with the reason, which the log tells too.

    Raises:
        ModelError: The file is damaged, or nothing here can run it.
    """
    with _lock:
        name = f"{content_sha256(model.path)[:32]}-v{VERSION}"
        folder = host.cache_folder() / "graphs"
        proved, rewritten, refusal = (
            folder / f"{name}{suffix}" for suffix in (".batches", ".onnx", ".txt")
        )
        if proved.is_file():
            return PreparedGraph(model.path, True)
        if rewritten.is_file():
            return PreparedGraph(rewritten, True)
        if refusal.is_file():
            return PreparedGraph(model.path, False, refusal.read_text(encoding="utf-8"))
        if model.takes_batches:
            reason = why_different(model.path, model.path, model, model.input_shape)
            if reason is None:
                _remember(proved, b"")
                return PreparedGraph(model.path, True)
        else:
            reason = _rewritten(model, rewritten)
            if reason is None:
                return PreparedGraph(rewritten, True)
        note = f"{model.path.name} runs image by image: {reason}"
        _log.warning("%s", note)
        _remember(refusal, note.encode())
        return PreparedGraph(model.path, False, note)


def _rewritten(model: ModelFile, target: Path) -> str | None:
    """Writes a model's graph with a batch axis, or says why that can't be."""
    original = read_model(model.path)
    graph = with_batch_axis(original)
    shape = [dim.dim_value or None for dim in image_shape(original)]
    reason = why_different(original, graph, model, shape)
    if reason is None:
        try:
            write_whole(target, graph.SerializeToString())
        except OSError as error:
            return f"{target} can't be written ({error})"
    return reason


def _remember(path: Path, finding: bytes) -> None:
    with contextlib.suppress(OSError):  # then it is found out again next time
        write_whole(path, finding)


def why_different(
    single: Any, batched: Any, model: ModelFile, shape: Sequence[int | None]
) -> str | None:
    """Why a graph can't be given the batches of another, or None when it can.

    Both are run on random images, the one image by image.

    Args:
        single, batched: Paths, or `onnx.ModelProto`; may be the same.
        model: Says the input's type.
        shape: Of the input, None where it is open.

    Raises:
        ModelError: `single` can't be run at all.
    """
    random = np.random.default_rng(0)
    channels, *sides = shape[1:]
    one_by_one = _runner(single, model)
    try:
        together = one_by_one if batched is single else _runner(batched, model)
        fixed = [side for side in sides if side]
        for size_hw in [fixed] if len(fixed) == 2 else _TRIAL_SIZES:
            trial = (_TRIAL_IMAGES, channels or 3, *size_hw)
            images = (random.random(trial, dtype=np.float32) - 0.5) * 2
            if model.input_dtype == "uint8":
                images = ((images + 1) * 127).astype(np.uint8)
            expected = [one_by_one(images[place : place + 1]) for place in range(_TRIAL_IMAGES)]
            reason = _difference(expected, together(images))
            if reason:
                return reason
    except ModelError as error:
        return f"a batch can't be tried ({error})"
    return None


def _difference(singles: list[list[np.ndarray]], batch: list[np.ndarray]) -> str | None:
    for number, (outputs, got) in enumerate(zip(zip(*singles, strict=True), batch, strict=True)):
        if got.size != sum(output.size for output in outputs) or len(got) != len(singles):
            return f"output {number} of a batch has shape {got.shape}"
        # The original's results may lack the image axis that the rewritten ones have.
        want = np.stack([output.reshape(got.shape[1:]) for output in outputs])
        difference = float(np.abs(got - want).max())
        if not difference <= _TOLERANCE * max(1.0, float(np.abs(want).max())):
            return f"a batch differs from single images by {difference:.3g} in output {number}"
    return None


def _runner(graph: Any, file: ModelFile) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Runs a graph on the CPU, in ONNX Runtime where that is installed and can, else in torch.

    Raises:
        ModelError: Neither can run it; now, or when the returned function is called.
    """
    try:
        import onnxruntime
    except ImportError:
        return _torch_runner(graph, file)
    errors = runtime_errors(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong with it is said by whoever opens it to use it
    try:
        # A path spares the memory for a second and third copy of the weights.
        content = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except errors:
        return _torch_runner(graph, file)
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> list[np.ndarray]:
        try:
            return [np.asarray(output) for output in session.run(None, {name: images})]
        except errors as error:
            raise ModelError(f"{file.path.name} can't be run: {error}") from error

    return run


def _torch_runner(graph: Any, file: ModelFile) -> Callable[[np.ndarray], list[np.ndarray]]:
    model = read_model(graph) if isinstance(graph, Path) else graph
    network = Network(graph_of(model, file.path.name)).eval()

    def run(images: np.ndarray) -> list[np.ndarray]:
        try:
            with torch.inference_mode():
                return [output.numpy() for output in network(torch.from_numpy(images))]
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ModelError(f"{file.path.name} can't be run in torch: {error}") from error

    return run
