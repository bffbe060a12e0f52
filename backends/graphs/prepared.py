"""Graphs made ready for batches: rewritten once, held against the original, kept on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
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
_VERSION = 1

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
    """The graph of a model with a batch axis, made now or found in the cache.

    A rewrite is used only after its answers for a batch were those of the original, image by image;
    where that can't be shown, the original is given back with the reason, which the log tells too.

    Raises:
        ModelError: The file is damaged.
    """
    if model.takes_batches:
        return PreparedGraph(model.path, True)
    with _lock:
        folder = host.cache_folder() / "graphs"
        cached = folder / f"{content_sha256(model.path)[:32]}-v{_VERSION}.onnx"
        refusal = cached.with_suffix(".txt")
        if cached.is_file():
            return PreparedGraph(cached, True)
        if refusal.is_file():
            return PreparedGraph(model.path, False, refusal.read_text(encoding="utf-8"))
        original = read_model(model.path)
        rewritten = with_batch_axis(original)
        reason = why_different(original, rewritten, model)
        if reason:
            note = f"{model.path.name} runs image by image: {reason}"
            _log.warning("%s", note)
            with contextlib.suppress(OSError):  # then it is found out again next time
                write_whole(refusal, note.encode())
            return PreparedGraph(model.path, False, note)
        try:
            write_whole(cached, rewritten.SerializeToString())
        except OSError as error:
            note = f"{model.path.name} runs image by image: {cached} can't be written ({error})"
            _log.warning("%s", note)
            return PreparedGraph(model.path, False, note)
        return PreparedGraph(cached, True)


def why_different(original: Any, rewritten: Any, model: ModelFile) -> str | None:
    """Why a rewritten graph can't stand for the original, or None when it can.

    Both are run on random images, the original one at a time.

    Args:
        original, rewritten: `onnx.ModelProto`.
        model: Says the input's type.
    """
    random = np.random.default_rng(0)
    channels, *sides = (dim.dim_value for dim in image_shape(original)[1:])
    single = _runner(original, model)
    try:
        batched = _runner(rewritten, model)
        for size_hw in [sides] if all(sides) else _TRIAL_SIZES:
            shape = (_TRIAL_IMAGES, channels or 3, *size_hw)
            images = (random.random(shape, dtype=np.float32) - 0.5) * 2
            if model.input_dtype == "uint8":
                images = ((images + 1) * 127).astype(np.uint8)
            expected = [single(images[place : place + 1]) for place in range(_TRIAL_IMAGES)]
            reason = _difference(expected, batched(images))
            if reason:
                return reason
    except ModelError as error:
        return f"with a batch axis it can't be run ({error})"
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


def _runner(model: Any, file: ModelFile) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Runs a graph on the CPU, in ONNX Runtime where that is installed and can, else in torch.

    Raises:
        ModelError: Neither can run it; now, or when the returned function is called.
    """
    try:
        import onnxruntime
    except ImportError:
        return _torch_runner(model, file)
    errors = runtime_errors(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong with it is said by whoever opens it to use it
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except errors:
        return _torch_runner(model, file)
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> list[np.ndarray]:
        try:
            return [np.asarray(output) for output in session.run(None, {name: images})]
        except errors as error:
            raise ModelError(f"{file.path.name} can't be run: {error}") from error

    return run


def _torch_runner(model: Any, file: ModelFile) -> Callable[[np.ndarray], list[np.ndarray]]:
    network = Network(graph_of(model, file.path.name)).eval()

    def run(images: np.ndarray) -> list[np.ndarray]:
        try:
            with torch.inference_mode():
                return [output.numpy() for output in network(torch.from_numpy(images))]
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ModelError(f"{file.path.name} can't be run in torch: {error}") from error

    return run
