"""Which nodes of a graph stay in single precision when the rest is made cheaper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .batch_axis import open_inputs
from .graph import import_onnx

#: Layers with weights: all before the first and from the last one on stay in single precision.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def name_nodes(model: Any) -> None:
    """Gives the nodes of a `ModelProto` that have no name one of their own, in place."""
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            node.name = name if name not in taken else f"{name}_unnamed"


def before_the_first_weights(model: Any) -> set[str]:
    """Names of the nodes that are reached from the image without passing a layer with weights."""
    reached = {open_inputs(model.graph)[0].name}
    kept = set()
    for node in model.graph.node:
        if node.op_type not in WEIGHTED and reached.intersection(node.input):
            kept.add(node.name)
            reached.update(node.output)
    return kept


def around_outputs(model: Any) -> set[str]:
    """Names of the nodes that are reached backwards from the outputs, up to and with layers with
    weights: scores, distances and embeddings are read to more digits than cheap arithmetic has.
    """
    wanted = {value.name for value in model.graph.output}
    kept = set()
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.add(node.name)
            if node.op_type not in WEIGHTED:
                wanted.update(node.input)
    return kept


def of_shapes(model: Any) -> set[str]:
    """Names of the nodes that work out shapes: their whole numbers are no pixels."""
    whole = {tensor.name for tensor in model.graph.initializer}
    kept = set()
    for node in model.graph.node:
        given = [name for name in node.input if name]
        if node.op_type in {"Constant", "Shape"} or (given and whole.issuperset(given)):
            kept.add(node.name)
            whole.update(node.output)
    return kept


def around_upsampling(model: Any) -> set[str]:
    """Names of the nodes that scale features up and add them to larger ones, and of their makers.

    The top of a feature pyramid: few products, but every finer level gets their rounding too.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    kept = set()
    for node in model.graph.node:
        if node.op_type in {"Resize", "Upsample"}:
            kept.update(_names(makers, node.input[:1]))
        elif node.op_type == "Add" and any(
            name in makers and makers[name].op_type in {"Resize", "Upsample"} for name in node.input
        ):
            kept.update(_names(makers, node.input))
        else:
            continue
        kept.add(node.name)
    return kept


def _names(makers: Mapping[str, Any], values: Sequence[str]) -> set[str]:
    return {makers[value].name for value in values if value in makers}


class ExactEnds(NamedTuple):
    """Which layers with weights stay as they are at both ends of a graph.

    Attributes:
        first: Those with fewer layers before them, at least.
        last: Those with fewer layers behind them, at least.
    """

    first: int = 0
    last: int = 0


def exact_ends(model: Any, inputs: Sequence[np.ndarray], first: float, last: float) -> ExactEnds:
    """The ends of a graph that do a share of its work.

    Args:
        model: `ModelProto` whose nodes have names.
        inputs: What it is given in one run: layers do as much work as for these.
        first, last: Shares of the products, 0..1, that the layers at each end do at most.
    """
    work = products(model, inputs)
    return ExactEnds(
        _end_within(work, _layers_before(model), first),
        _end_within(work, _layers_behind(model), last),
    )


def _end_within(work: Mapping[str, float], ranks: Mapping[str, int], share: float) -> int:
    """The rank below which layers do no more than a share of all products, together."""
    left = share * sum(work.values())
    for rank in sorted({ranks[name] for name in work if name in ranks}):
        left -= sum(work[name] for name in work if ranks.get(name) == rank)
        if left < 0:
            return rank
    return len(work)


def exact_layers(model: Any, ends: ExactEnds) -> set[str]:
    """Names of the layers with weights at both ends of a graph, and of what lies between them."""
    before, behind = _layers_before(model), _layers_behind(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    exact = {value.name for value in model.graph.input if value.name not in constants}
    kept = set()
    for node in model.graph.node:
        given = [name for name in node.input if name and name not in constants]
        if node.op_type in WEIGHTED:
            stays = (
                before.get(node.name, ends.first) < ends.first
                or behind.get(node.name, ends.last) < ends.last
            )
        else:
            # Between two layers nothing is made cheaper for its own sake.
            stays = bool(given) and exact.issuperset(given)
        if stays:
            kept.add(node.name)
            exact.update(node.output)
    return kept


def _layers_before(model: Any) -> dict[str, int]:
    """How many layers with weights are passed, at least, from the image to each node."""
    passed = {open_inputs(model.graph)[0].name: 0}
    ranks = {}
    for node in model.graph.node:
        known = [passed[name] for name in node.input if name in passed]
        if known:
            ranks[node.name] = min(known)
            through = min(known) + (node.op_type in WEIGHTED)
            passed.update(dict.fromkeys(node.output, through))
    return ranks


def _layers_behind(model: Any) -> dict[str, int]:
    """How many layers with weights are passed, at least, from each node to an output."""
    passed = {value.name: 0 for value in model.graph.output}
    ranks = {}
    for node in reversed(model.graph.node):
        known = [passed[name] for name in node.output if name in passed]
        if known:
            ranks[node.name] = min(known)
            through = min(known) + (node.op_type in WEIGHTED)
            for name in node.input:
                passed[name] = min(through, passed.get(name, through))
    return ranks


def products(model: Any, inputs: Sequence[np.ndarray]) -> dict[str, float]:
    """Number of products of each node with weights, for inputs of the shapes of some, in order."""
    onnx = import_onnx()
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for entry, array in zip(open_inputs(sized.graph), inputs, strict=True):
        for dim, size in zip(entry.type.tensor_type.shape.dim, array.shape, strict=True):
            dim.dim_value = size
    del sized.graph.value_info[:]
    for output in sized.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(sized)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    work = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in weights:
            places = shapes.get(node.output[0], [])[2:]
            work[node.name] = float(np.prod(weights[node.input[1]]) * np.prod(places or [1]))
    return work
