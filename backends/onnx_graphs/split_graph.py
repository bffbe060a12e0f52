"""A detector's graph as two, cut at its `SplitPoint` and tidied up; proved once, kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils.errors import ModelError
from ...utils.letterbox import Canvas
from ...utils.packs import ModelFile
from .batch_axis import image_shape
from .cache_entries import Entry
from .equivalence import (
    Untried,
    difference,
    prover,
    random_images,
    trial_runner,
)
from .fuse_parallel_convs import join_parallel_convolutions
from .graph import graph_of, import_onnx, read_model
from .graph_cache import PASSING_TROUBLE, NewFile, Unfit, graph_cache, in_one_line
from .split_point import ReceptiveField, SplitPoint, best_split_point

_log = logging.getLogger("FastFace")

_PARTS = ("front.onnx", "back.onnx")
_WHOLE = "%s is run whole, black margins and all: %s"
#: On trial the picture is so high or wide, on a canvas this much larger than the part of it that
#: the front then needs.
_TRIAL_FILLED, _TRIAL_SPARE = 64, 1.25
_TRIAL_IMAGES = 2
#: Canvases are multiples of it.
_CANVAS_MULTIPLE = 32


@dataclass(frozen=True)
class SplitGraph:
    """Two graphs that follow each other.

    Attributes:
        front: Takes canvases or parts of them, gives the features at the cut.
        back: Takes these, gives the outputs of the whole.
        split_point: Where the cut is.
    """

    front: Path
    back: Path
    split_point: SplitPoint


def split_graph_of(path: Path, model: ModelFile) -> SplitGraph | None:
    """A graph in two halves, made now or found in the cache; None where that is of no use.

    They are used only after their answers for canvases with black margins were those of the whole
    graph.

    Args:
        path: The graph, which takes batches.
        model: What it was made of.

    Raises:
        ModelError: The file is damaged, or nothing here can run it.
        BackendUnavailable: It has to be cut, and the onnx package is not installed.
    """

    def make(new_file: NewFile) -> dict[str, Any]:
        whole = read_model(path)
        split_point = best_split_point(graph_of(whole, model.path.name))
        if split_point is None:
            return {"whole": "there is no place to cut it that would spare work"}
        try:
            halves = cut_at(whole, split_point.value)
            for half in halves:
                join_parallel_convolutions(half)
            reason = _why_different(path, halves, split_point, model)
        # What onnx raises on graphs that it can't take apart, or whose types it can't tell.
        except (ValueError, KeyError, import_onnx().shape_inference.InferenceError) as error:
            raise Untried(f"it can't be cut at {split_point.value} ({error})") from error
        if reason:
            _log.info(_WHOLE, model.path.name, reason)
            raise Unfit(reason)
        for part, half in zip(_PARTS, halves, strict=True):
            new_file(part).write_bytes(half.SerializeToString())
        return asdict(split_point)

    def read(entry: Entry) -> SplitGraph | None:
        if not entry.files:
            return None
        front, back = (entry.files[part] for part in _PARTS)
        rows, columns = (ReceptiveField(**entry.facts[axis]) for axis in ("rows", "columns"))
        return SplitGraph(front, back, SplitPoint(entry.facts["value"], rows, columns))

    try:
        return graph_cache().obtain(
            "split",
            path,
            model.path.name,
            make,
            read,
            input_dtype=model.input_dtype,
            black=model.black,
            proved_by=prover(),
        )
    except (*PASSING_TROUBLE, Untried) as error:
        level = logging.INFO if isinstance(error, Untried) else logging.WARNING
        _log.log(
            level, _WHOLE, model.path.name, f"{in_one_line(error)}; it is tried again next time"
        )
        return None


def cut_at(whole: Any, value: str) -> tuple[Any, Any]:
    """The graphs before and behind a value of an `onnx.ModelProto`; both take any size."""
    onnx = import_onnx()
    # The type of the value at the cut is nowhere written down.
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(whole))
    image = [entry.name for entry in _open_inputs(whole.graph)]
    front = extractor.extract_model(image, [value])
    back = extractor.extract_model([value], [entry.name for entry in whole.graph.output])
    for half in (front, back):
        # What was noted of inner sizes held for whole canvases.
        del half.graph.value_info[:]
    for dims in (
        image_shape(front),
        front.graph.output[0].type.tensor_type.shape.dim,
        image_shape(back),
    ):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            dims[axis].Clear()
            dims[axis].dim_param = name
    return front, back


def _open_inputs(graph: Any) -> Iterator[Any]:
    constants = {tensor.name for tensor in graph.initializer}
    return (entry for entry in graph.input if entry.name not in constants)


def _why_different(
    path: Path, halves: tuple[Any, Any], split_point: SplitPoint, model: ModelFile
) -> str | None:
    """Why the halves can't take the place of the whole, or None when they can.

    Raises:
        ModelError: The whole can't be opened at all.
        Untried: They can't be run.
        OutOfMemory: There is too little memory to run them.
    """
    whole = trial_runner(path, model)
    random = np.random.default_rng(0)
    try:
        front, back = (trial_runner(half, model) for half in halves)
        for canvas in _trial_canvases(split_point, model):
            images = np.full(
                (_TRIAL_IMAGES, 3, *canvas.size_hw), model.black, dtype=model.input_dtype
            )
            height, width = canvas.filled_hw
            noise = (_TRIAL_IMAGES, 3, height, width)
            images[..., :height, :width] = random_images(random, noise, model)
            part_hw = split_point.part_hw(canvas)
            if part_hw == canvas.size_hw:
                return f"its front needs all of {canvas.size_hw}"
            empty = np.full_like(images[:1], model.black)
            features = split_point.completed(
                torch.from_numpy(front(images[..., : part_hw[0], : part_hw[1]])[0]),
                torch.from_numpy(front(empty)[0]),
                canvas,
            )
            reason = difference([whole(image[None]) for image in images], back(features.numpy()))
            if reason:
                return f"halves differ: {reason}"
    except ModelError as error:
        raise Untried(f"its halves can't be tried ({error})") from error
    return None


def _trial_canvases(split_point: SplitPoint, model: ModelFile) -> Iterator[Canvas]:
    """Pictures on canvases with a margin below, at the right, and both."""
    if size_wh := model.fixed_size_wh:
        width, height = size_wh
    else:
        endless = Canvas((1, 1), (_TRIAL_FILLED, _TRIAL_FILLED), (1 << 20, 1 << 20))
        height, width = (
            -(-int(_TRIAL_SPARE * side) // _CANVAS_MULTIPLE) * _CANVAS_MULTIPLE
            for side in split_point.part_hw(endless)
        )
    low, narrow = min(_TRIAL_FILLED, height), min(_TRIAL_FILLED, width)
    for filled_hw in ((low, width), (height, narrow), (low, narrow)):
        yield Canvas(filled_hw, filled_hw, (height, width))
