"""Points of a detector's graph at which the features of black margins are filled in.

A picture of another shape than its canvas leaves a part of that black: 44 % for a video frame in a
square. Until a network first mixes distant rows, each row of its features sees only some rows of
the canvas; beyond the picture they are those of an empty canvas, whatever the picture. So the
network runs on the picture and a little more. At some points on its way, between residual blocks,
the last rows of its features, which see the edge of that part, are replaced by as many rows of an
empty canvas as the next layers need, and at the last point by all that are missing. What follows
can't tell the difference: it is the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...utils.letterbox import Canvas
from .graph import Graph
from .receptive_field import POINTWISE, SLIDING, ReceptiveField, seen_through

#: Parts of canvases are rounded up to this, in pixels: fewer shapes to prepare for.
_PART_MULTIPLE = 16
#: A part that is nearly all of its canvas is not worth it.
_NEARLY_ALL = 0.95

#: What points are chosen for: a photo of 3:2 in a square canvas, in pixels.
_TYPICAL_SIDE, _TYPICAL_FILLED = 640, 427
#: Products of numbers that take as long as writing one feature of a layer and reading it again: the
#: first layers have few channels, and so much to write and little to work out.
_PRODUCTS_A_FEATURE = 500
#: The same for a feature that is copied at a point, which engines do a layer's width at a time.
_PRODUCTS_A_COPY = 50


class Refill(NamedTuple):
    """Which features of an empty canvas follow those of a part at a point.

    Attributes:
        start, stop: Rows or columns of the empty canvas's features.
    """

    start: int
    stop: int


class MarginPlan(NamedTuple):
    """How the canvases of one shape are run.

    Attributes:
        axis: Of `[B,C,H,W]`: 2 where the margin is below, 3 where it is at the right.
        pixels: Height or width of the upper left part of the canvas that the network runs on.
        refills: At each point.
    """

    axis: int
    pixels: int
    refills: tuple[Refill, ...]


@dataclass(frozen=True)
class MarginPoint:
    """A point of a graph at which features of margins are filled in.

    Attributes:
        value: Name of the features, `[B,C,h,w]`.
        rows, columns: What they see of the image.
    """

    value: str
    rows: ReceptiveField
    columns: ReceptiveField

    def along(self, axis: int) -> ReceptiveField:
        """What they see along an axis of `[B,C,H,W]`, 2 or 3."""
        return self.rows if axis == 2 else self.columns


def steps_of(points: Sequence[MarginPoint], axis: int) -> list[ReceptiveField]:
    """What the features at each point see of those at the point before, the first of the image."""
    fields = [ReceptiveField(), *(point.along(axis) for point in points)]
    return [field.step_from(before) for before, field in itertools.pairwise(fields)]


def plan_of(points: Sequence[MarginPoint], canvas: Canvas) -> MarginPlan | None:
    """How to run a canvas; None where all of it has to be run."""
    plans = [
        plan
        for axis, filled, size in zip((2, 3), canvas.filled_hw, canvas.size_hw, strict=True)
        if (plan := _plan_along(points, axis, filled, size)) is not None
    ]
    # Letterboxes have one margin at most; of two, what lies at the side of the other is run.
    sizes = (0, 0, *canvas.size_hw)
    return min(plans, key=lambda plan: plan.pixels / sizes[plan.axis], default=None)


def _plan_along(
    points: Sequence[MarginPoint], axis: int, filled: int, size: int
) -> MarginPlan | None:
    fields, steps = [point.along(axis) for point in points], steps_of(points, axis)
    if any(size % field.stride for field in fields):
        return None
    filled = min(size, _rounded_up(filled, _PART_MULTIPLE))
    wanted = [field.filled(filled) for field in fields]
    pixels = given = min(size, _rounded_up(steps[0].needed(wanted[0]), _PART_MULTIPLE))
    if pixels > _NEARLY_ALL * size:
        return None
    refills = []
    for place, (field, step) in enumerate(zip(fields, steps, strict=True)):
        start, whole = given // step.stride - step.spoilt, size // field.stride
        if not wanted[place] <= start < whole:
            return None  # the picture reaches into what the canvas's own edge spoils
        if place + 1 == len(points):
            given = whole
        else:
            following = steps[place + 1]
            given = max(
                following.needed(wanted[place + 1]), _rounded_up(start + 1, following.stride)
            )
            given = min(given, whole)
        refills.append(Refill(start, given))
    return MarginPlan(axis, pixels, tuple(refills))


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def best_margin_points(graph: Graph) -> tuple[MarginPoint, ...]:
    """The points that spare most of a typical picture's work; empty where none spares any.

    Each point's features have to be copied, and each stretch between two points has to be run on as
    much as the next one needs, so the best points are the shortest way through the graph.
    """
    candidates = list(_candidates(graph))
    total = candidates[-1].work if candidates else 0.0
    # For each candidate: the least that everything up to it costs, and the points on the way.
    best: list[tuple[float, tuple[_Candidate, ...]]] = []
    for candidate in candidates:
        ways: list[tuple[float, tuple[_Candidate, ...]]] = [(0.0, ()), *best]
        costs = [cost + _stretch(before[-1:], candidate) for cost, before in ways]
        cheapest = min(range(len(ways)), key=costs.__getitem__)
        copied = _PRODUCTS_A_COPY * candidate.features
        best.append((costs[cheapest] + copied, (*ways[cheapest][1], candidate)))
    ends = [(cost + total - way[-1].work, way) for cost, way in best]
    cost, way = min(ends, key=lambda end: end[0], default=(0.0, ()))
    return tuple(candidate.point for candidate in way) if cost < total else ()


class _Candidate(NamedTuple):
    """A place for a point.

    Attributes:
        point: The point.
        work: What is worked out before it, in products a pixel.
        features: How many numbers lie there, for each pixel.
    """

    point: MarginPoint
    work: float
    features: float


def _stretch(before: tuple[_Candidate, ...], after: _Candidate) -> float:
    """What is worked out for a typical picture between the point before, if any, and another."""
    field = after.point.rows
    previous = before[0].point.rows if before else ReceptiveField()
    work = after.work - (before[0].work if before else 0.0)
    needed = field.step_from(previous).needed(field.filled(_TYPICAL_FILLED)) * previous.stride
    return work * min(1.0, needed / _TYPICAL_SIDE)


def _candidates(graph: Graph) -> Iterator[_Candidate]:
    """All places where one value is all that the rest of the graph is made of, first to last."""
    last_use = {name: len(graph.nodes) for name in graph.outputs}
    for place, node in reversed(list(enumerate(graph.nodes))):
        for name in node.inputs:
            last_use.setdefault(name, place)
    windows = {graph.input: (ReceptiveField(), ReceptiveField())}
    alive, joined = {graph.input}, _joined(graph)
    channels, features, work = 3, 0.0, 0.0
    for place, node in enumerate(graph.nodes):
        flowing = [name for name in node.inputs if name in alive]
        if not flowing:
            continue
        seen = seen_through(node, graph, [windows[name] for name in flowing if name in windows])
        if seen is None or any(name not in windows for name in flowing):
            return  # what follows sees more than a window
        windows[node.outputs[0]] = seen
        if node.op in SLIDING:
            pixels_a_place = seen[0].stride * seen[1].stride
            if node.op == "Conv":
                weight = graph.constants.get(node.inputs[1])
                if weight is None:
                    return  # worked out from others, as in quantised graphs
                channels = weight.shape[0]
                work += weight.size / pixels_a_place
            features = channels / pixels_a_place
            work += _PRODUCTS_A_FEATURE * features
        alive.update(name for name in node.outputs if last_use.get(name, -1) > place)
        alive -= {name for name in alive if last_use[name] <= place}
        if len(alive) == 1 and features:
            (value,) = alive
            is_own = value in node.outputs and value not in {*graph.outputs, *joined}
            if is_own and all(field.is_even for field in seen):
                yield _Candidate(MarginPoint(value, *seen), work, features)


def _joined(graph: Graph) -> set[str]:
    """Values that engines don't keep: an activation is worked out with the layer before it."""
    return {
        name
        for node in graph.nodes
        if node.op in POINTWISE
        for name in node.inputs
        if sum(other not in graph.constants for other in node.inputs if other) == 1
    }
