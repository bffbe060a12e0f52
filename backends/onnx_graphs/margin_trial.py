"""Holds graphs that skip black margins against the whole one, on canvases with margins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...utils.errors import ModelError
from ...utils.letterbox import Canvas
from ...utils.packs import ModelFile
from .equivalence import Untried, difference, random_images, trial_runner
from .margin_points import MarginPoint, plan_of
from .margin_rewrite import refills

#: On trial the picture is so high or wide at least, on the smallest canvas that leaves a margin.
_TRIAL_FILLED, _MOST_TRIAL_SIZE = 64, 1024
_TRIAL_IMAGES = 2
#: Canvases are multiples of it.
_CANVAS_MULTIPLE = 32
#: Canvases nearly as full as they may be are tried too; they are looked for in steps of this.
_FILL_STEP = 8


def why_different(
    path: Path,
    along: Mapping[int, Any],
    empty: Any,
    points: tuple[MarginPoint, ...],
    model: ModelFile,
) -> str | None:
    """Why graphs that skip margins can't take the place of the whole, or None when they can.

    Args:
        path: The whole graph.
        along: An `onnx.ModelProto` for margins along each axis of `[B,C,H,W]`, 2 and 3.
        empty: Another one that gives the features at the points.
        points: The points.
        model: What it was made of.

    Raises:
        ModelError: The whole can't be opened at all.
        Untried: They can't be run.
        OutOfMemory: There is too little memory to run them.
    """
    whole = trial_runner(path, model)
    random = np.random.default_rng(0)
    try:
        runners = {axis: trial_runner(graph, model) for axis, graph in along.items()}
        features = trial_runner(empty, model)
        for canvas in _trial_canvases(points, model):
            plan = plan_of(points, canvas)
            if plan is None:
                return f"all of {canvas.size_hw} is needed for {canvas.filled_hw}"
            images = np.full(
                (_TRIAL_IMAGES, 3, *canvas.size_hw), model.black, dtype=model.input_dtype
            )
            height, width = canvas.filled_hw
            noise = (_TRIAL_IMAGES, 3, height, width)
            images[..., :height, :width] = random_images(random, noise, model)
            black = features(np.full_like(images[:1], model.black))
            given = refills(plan, [torch.from_numpy(each) for each in black], _TRIAL_IMAGES)
            part = torch.from_numpy(images).narrow(plan.axis, 0, plan.pixels).contiguous()
            got = runners[plan.axis](part.numpy(), *(each.numpy() for each in given))
            reason = difference([whole(image[None]) for image in images], got)
            if reason:
                return f"answers without margins differ: {reason}"
    except ModelError as error:
        raise Untried(f"what skips its margins can't be tried ({error})") from error
    return None


def _trial_canvases(points: Sequence[MarginPoint], model: ModelFile) -> Iterator[Canvas]:
    """Pictures on canvases with a margin below and at the right, small ones and large ones.

    Each axis is tried at the smallest canvas that leaves something of a margin to skip, with as
    much picture as the trial wants and as the canvas may hold.
    """
    for axis in (2, 3):
        sizes, across = range(_CANVAS_MULTIPLE, _MOST_TRIAL_SIZE, _CANVAS_MULTIPLE), _TRIAL_FILLED
        if model.fixed_size_wh:
            sizes, across = (model.fixed_size_wh[3 - axis],), model.fixed_size_wh[axis - 2]
        every = (_canvas(axis, _TRIAL_FILLED, size, across) for size in sizes)
        canvas = next((each for each in every if plan_of(points, each)), None)
        if canvas is None:
            yield _canvas(axis, _TRIAL_FILLED, sizes[-1], across)
            return
        yield canvas
        size = canvas.size_hw[axis - 2]
        for filled in range(size - _FILL_STEP, _TRIAL_FILLED, -_FILL_STEP):
            fuller = _canvas(axis, filled, size, across)
            if plan_of(points, fuller):
                yield fuller
                break


def _canvas(axis: int, filled: int, size: int, across: int) -> Canvas:
    """A canvas that is filled so far along an axis, and wholly across."""
    if axis == 2:
        return Canvas((filled, across), (filled, across), (size, across))
    return Canvas((across, filled), (across, filled), (across, size))
