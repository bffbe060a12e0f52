"""A detector's graphs that skip black margins, made of the whole one; proved once, then kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...utils.packs import ModelFile
from .cache_entries import Entry
from .equivalence import Untried, prover
from .fuse_parallel_convs import join_parallel_convolutions
from .graph import graph_of, import_onnx, read_model
from .graph_cache import PASSING_TROUBLE, NewFile, Unfit, graph_cache, in_one_line
from .margin_points import MarginPoint, best_margin_points
from .margin_rewrite import AXES, features_at, refilled_at
from .margin_trial import why_different
from .receptive_field import ReceptiveField

_log = logging.getLogger("FastFace")

_EMPTY = "empty.onnx"
_WHOLE = "%s is run whole, black margins and all: %s"
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
            graphs = {axis: refilled_at(whole, points, axis) for axis in AXES.values()}
            empty = features_at(whole, points)
            for each in graphs.values():
                join_parallel_convolutions(each)
            reason = why_different(path, graphs, empty, points, model)
        # What onnx raises on graphs that it can't take apart, or whose types it can't tell.
        except (ValueError, KeyError, import_onnx().shape_inference.InferenceError) as error:
            raise Untried(f"it can't be taken apart ({error})") from error
        if reason:
            _log.info(_WHOLE, model.path.name, reason)
            raise Unfit(reason)
        for name, axis in AXES.items():
            new_file(_file_of(name)).write_bytes(graphs[axis].SerializeToString())
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
