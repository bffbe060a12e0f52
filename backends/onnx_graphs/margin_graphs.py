"""A detector's graphs that skip black margins, made of the whole one; proved once, then kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...utils.errors import ModelError
from ...utils.letterbox import Canvas
from ...utils.packs import ModelFile
from .batch_axis import image_shape, open_inputs
from .cache_entries import Entry
from .equivalence import (
    Untried,
    difference,
    prover,
    random_images,
    trial_runner,
)
from .fuse_parallel_convs import join_parallel_convolutions
from .graph import MARGIN_INPUT, graph_of, import_onnx, read_model
from .graph_cache import PASSING_TROUBLE, NewFile, Unfit, graph_cache, in_one_line
from .margin_points import (
    MarginPlan,
    MarginPoint,
    ReceptiveField,
    best_margin_points,
    plan_of,
    steps_of,
)

_log = logging.getLogger("FastFace")

#: Of `[B,C,H,W]`, by the name of the graph for margins there.
AXES = {"rows": 2, "columns": 3}
_EMPTY = "empty.onnx"
_WHOLE = "%s is run whole, black margins and all: %s"
#: On trial the picture is so high or wide at least, on the smallest canvas that leaves a margin.
_TRIAL_FILLED, _MOST_TRIAL_SIZE = 64, 1024
_TRIAL_IMAGES = 2
#: Canvases are multiples of it.
_CANVAS_MULTIPLE = 32
#: Canvases nearly as full as they may be are tried too; they are looked for in steps of this.
_FILL_STEP = 8
#: The first version of ONNX's operators whose Slice takes its bounds as inputs.
_LEAST_OPSET = 10


@dataclass(frozen=True)
class MarginGraphs:
    """What is made of a detector's graph to skip black margins.

    Attributes:
        along: By axis of `[B,C,H,W]`, 2 for margins below and 3 for those at the right: a graph
            that takes parts of canvases and, as further inputs, what `refills` gives at each
            point. It gives the outputs of the whole graph for whole canvases.
        empty: Takes whole canvases, gives the features at each point.
        points: The points.
    """

    along: Mapping[int, Path]
    empty: Path
    points: tuple[MarginPoint, ...]


def margin_graphs_of(path: Path, model: ModelFile) -> MarginGraphs | None:
    """Graphs that skip black margins, made now or found in the cache; None where that is no use.

    They are used only after their answers for canvases with black margins were those of the whole
    graph.

    Args:
        path: The graph, which takes batches.
        model: What it was made of.

    Raises:
        ModelError: The file is damaged, or nothing here can run it.
        BackendUnavailable: They have to be made, and the onnx package is not installed.
    """

    def make(new_file: NewFile) -> dict[str, Any]:
        whole = read_model(path)
        graph = graph_of(whole, model.path.name)
        points = best_margin_points(graph) if graph.opset >= _LEAST_OPSET else ()
        if not points:
            return {"whole": "there is no point at which it would spare work"}
        try:
            graphs = {name: refilled_at(whole, points, axis) for name, axis in AXES.items()}
            empty = features_at(whole, points)
            for each in graphs.values():
                join_parallel_convolutions(each)
            reason = _why_different(path, graphs, empty, points, model)
        # What onnx raises on graphs that it can't take apart, or whose types it can't tell.
        except (ValueError, KeyError, import_onnx().shape_inference.InferenceError) as error:
            raise Untried(f"it can't be taken apart ({error})") from error
        if reason:
            _log.info(_WHOLE, model.path.name, reason)
            raise Unfit(reason)
        for name, each in graphs.items():
            new_file(_file_of(name)).write_bytes(each.SerializeToString())
        new_file(_EMPTY).write_bytes(empty.SerializeToString())
        return {"points": [asdict(point) for point in points]}

    def read(entry: Entry) -> MarginGraphs | None:
        if not entry.files:
            return None
        along = {axis: entry.files[_file_of(name)] for name, axis in AXES.items()}
        points = (
            MarginPoint(
                point["value"],
                ReceptiveField(**point["rows"]),
                ReceptiveField(**point["columns"]),
            )
            for point in entry.facts["points"]
        )
        return MarginGraphs(along, entry.files[_EMPTY], tuple(points))

    try:
        return graph_cache().obtain(
            "margins",
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


def _file_of(name: str) -> str:
    return f"{name}.onnx"


def refills(plan: MarginPlan, empty: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """What follows the features of a part of canvases at each point.

    Args:
        plan: How the canvases are run.
        empty: The features of an empty canvas at each point, `[1,C,H,W]` each.
        count: How many canvases there are.

    Returns:
        `[count,C,h,W]` each, or `[count,C,H,w]`; in the order of memory that `empty` has.
    """
    return tuple(
        features.narrow(plan.axis, refill.start, refill.stop - refill.start)
        .expand(count, -1, -1, -1)
        .contiguous(
            memory_format=torch.channels_last
            if features.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        for refill, features in zip(plan.refills, empty, strict=True)
    )


def refilled_at(whole: Any, points: Sequence[MarginPoint], axis: int) -> Any:
    """An `onnx.ModelProto` that is given what an empty canvas's features are at its points.

    Args:
        whole: `onnx.ModelProto`.
        points: The points.
        axis: Of `[B,C,H,W]`, along which there is a margin: 2 or 3.
    """
    onnx = import_onnx()
    helper = onnx.helper
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    graph = model.graph
    _take_any_size(model)
    types = _types_of(whole, points)
    nodes = list(graph.node)
    del graph.node[:]
    refilled: dict[str, str] = {}
    following = {point.value: number for number, point in enumerate(points)}
    steps = steps_of(points, axis)
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = refilled.get(name, name)
        graph.node.append(node)
        for value in set(node.output) & following.keys():
            number = following[value]
            given, refilled[value] = f"{MARGIN_INPUT}{number}", f"{value}:refilled"
            kept = _without_last(graph, value, steps[number].spoilt, axis)
            graph.node.append(
                helper.make_node(
                    "Concat", [kept, given], [refilled[value]], refilled[value], axis=axis
                )
            )
            kind, channels = types[value]
            sizes = ["batch", channels, f"height {number}", f"width {number}"]
            graph.input.append(helper.make_tensor_value_info(given, kind, sizes))
    return model


def _without_last(graph: Any, value: str, count: int, axis: int) -> str:
    """The name of a value without its last rows or columns; adds to the graph what makes it."""
    if not count:
        return value
    onnx, kept, bounds = import_onnx(), f"{value}:kept", []
    for what, bound in (("start", 0), ("end", -count), ("axis", axis)):
        bounds.append(f"{kept} {what}")
        array = np.array([bound], dtype=np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(array, bounds[-1]))
    graph.node.append(onnx.helper.make_node("Slice", [value, *bounds], [kept], kept))
    return kept


def features_at(whole: Any, points: Sequence[MarginPoint]) -> Any:
    """An `onnx.ModelProto` that gives the features at some points of another one's; of any size."""
    onnx = import_onnx()
    # The types of the values there are nowhere written down.
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(whole))
    image = [entry.name for entry in open_inputs(whole.graph)]
    model = extractor.extract_model(image, [point.value for point in points])
    _take_any_size(model)
    for number, output in enumerate(model.graph.output):
        dims = output.type.tensor_type.shape.dim
        for axis, name in ((0, "batch"), (2, f"height {number}"), (3, f"width {number}")):
            dims[axis].Clear()
            dims[axis].dim_param = name
    return model


def _take_any_size(model: Any) -> None:
    # What was noted of inner sizes held for whole canvases.
    del model.graph.value_info[:]
    dims = image_shape(model)
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        dims[axis].Clear()
        dims[axis].dim_param = name


def _types_of(whole: Any, points: Sequence[MarginPoint]) -> dict[str, tuple[int, int | None]]:
    """ONNX's number of the type of the values at some points, and their channels if known."""
    inferred = import_onnx().shape_inference.infer_shapes(whole)
    wanted = {point.value for point in points}
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            value.type.tensor_type.shape.dim[1].dim_value or None,
        )
        for value in inferred.graph.value_info
        if value.name in wanted
    }


def _why_different(
    path: Path,
    graphs: Mapping[str, Any],
    empty: Any,
    points: tuple[MarginPoint, ...],
    model: ModelFile,
) -> str | None:
    """Why the graphs can't take the place of the whole, or None when they can.

    Raises:
        ModelError: The whole can't be opened at all.
        Untried: They can't be run.
        OutOfMemory: There is too little memory to run them.
    """
    whole = trial_runner(path, model)
    random = np.random.default_rng(0)
    try:
        runners = {AXES[name]: trial_runner(graph, model) for name, graph in graphs.items()}
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
    for axis in AXES.values():
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
