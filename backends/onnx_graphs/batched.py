"""Graphs made ready for batches: rewritten once, held against the original, kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import ModelError
from ...utils.packs import ModelFile
from .batch_axis import image_shape, with_batch_axis
from .cache_entries import VERSIONS, Entry
from .equivalence import (
    Unrunnable,
    Untried,
    difference,
    prover,
    random_images,
    trial_runner,
)
from .graph import read_model
from .graph_cache import PASSING_TROUBLE, NewFile, Unfit, graph_cache, in_one_line

_log = logging.getLogger("FastFace")

#: Part of the keys of what is made of these graphs.
VERSION = VERSIONS["batched"]

#: Input sizes (height, width) at which graphs of open size are tried; not square, so that mixed-up
#: axes show.
_TRIAL_SIZES = ((96, 160), (128, 64))
_TRIAL_IMAGES = 3
_PART = "onnx"


@dataclass(frozen=True)
class BatchedGraph:
    """A graph to open.

    Attributes:
        path: The rewritten file, or the original.
        takes_batches: Whether it takes any number of images; its outputs then all lead with them.
        note: Why it does not, in one line; empty when it does.
        is_runnable: Whether the file as released ran, or was not tried.
    """

    path: Path
    takes_batches: bool
    note: str = ""
    is_runnable: bool = True


def batched_graph(model: ModelFile) -> BatchedGraph:
    """The graph of a model with a batch axis, as released, made now, or found in the cache.

    A batch is run only after its answers were those of the original, image by image; that holds for
    graphs that are released with a batch axis too, for some of those have a 1 somewhere inside.
    Where it can't be shown, the original is given back with the reason, which the log tells too.
    It is remembered where the answers differ, and tried again where something else went wrong.

    Raises:
        ModelError: The file is damaged, or nothing here can run it.
        BackendUnavailable: It has to be rewritten, and the onnx package is not installed.
    """

    def make(new_file: NewFile) -> dict[str, Any]:
        batched, shape = model.path, model.input_shape
        if not model.takes_batches:
            original = read_model(model.path)
            shape = [dim.dim_value or None for dim in image_shape(original)]
            batched = new_file(_PART)
            batched.write_bytes(with_batch_axis(original).SerializeToString())
            del original  # two others, of 260 MB each perhaps, are about to be opened
        reason = why_different(model.path, batched, model, shape)
        if reason:
            _log.warning("%s", _note(model, reason))
            raise Unfit(reason)
        return {}

    def read(entry: Entry) -> BatchedGraph:
        if entry.unfit:
            return BatchedGraph(model.path, False, _note(model, entry.unfit))
        return BatchedGraph(entry.files.get(_PART, model.path), True)

    try:
        return graph_cache().obtain(
            "batched",
            model.path,
            model.path.name,
            make,
            read,
            takes_batches=model.takes_batches,
            input_dtype=model.input_dtype,
            proved_by=prover(),
        )
    except (*PASSING_TROUBLE, Untried) as error:
        note = f"{_note(model, in_one_line(error))}; it is tried again next time"
        _log.warning("%s", note)
        return BatchedGraph(model.path, False, note, not isinstance(error, Unrunnable))


def _note(model: ModelFile, reason: str) -> str:
    return f"{model.path.name} runs image by image: {reason}"


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
        ModelError: `single` can't be opened at all.
        Unrunnable: It can't be run.
        Untried: `batched` can't be run.
        OutOfMemory: There is too little memory to run them.
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
    except ModelError as error:
        raise Unrunnable(str(error)) from error
    try:
        if batched is not single:
            del run  # one of perhaps 500 MB in memory is enough
            run = trial_runner(batched, model)
        for images, wanted in zip(trials, expected, strict=True):
            reason = difference(wanted, run(images))
            if reason:
                return f"a batch differs from single images: {reason}"
    except ModelError as error:
        raise Untried(f"a batch can't be tried ({error})") from error
    return None
