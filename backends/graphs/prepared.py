"""Graphs made ready for batches: rewritten once, held against the original, kept on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils import host
from ...utils.errors import ModelError
from ...utils.files import write_whole
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_sha256
from .batch_axis import image_shape, with_batch_axis
from .graph import read_model
from .trial import difference, random_images, trial_runner

_log = logging.getLogger("FastFace")
_lock = threading.Lock()

#: Part of the cached files' names; raised when the rewriting changes.
VERSION = 1

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
    fixed = [side for side in sides if side]
    sizes = [fixed] if len(fixed) == 2 else _TRIAL_SIZES
    trials = [
        random_images(random, (_TRIAL_IMAGES, channels or 3, *size_hw), model) for size_hw in sizes
    ]
    run = trial_runner(single, model)
    try:
        expected = [
            [run(images[place : place + 1]) for place in range(_TRIAL_IMAGES)] for images in trials
        ]
        if batched is not single:
            del run  # one of perhaps 500 MB in memory is enough
            run = trial_runner(batched, model)
        for images, wanted in zip(trials, expected, strict=True):
            reason = difference(wanted, run(images))
            if reason:
                return f"a batch differs from single images: {reason}"
    except ModelError as error:
        return f"a batch can't be tried ({error})"
    return None
