"""Which nodes of a graph stay in single precision when the rest is made cheaper."""

from __future__ import annotations

from typing import Any

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
    constants = {tensor.name for tensor in model.graph.initializer}
    reached = {value.name for value in model.graph.input if value.name not in constants}
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
