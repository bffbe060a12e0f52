"""Merges what follows a convolution into it, for engines that do it all in one pass over memory.

A merged node is `activation(conv(X, W) + B + Z)`, as ONNX Runtime's operator `FusedConv` is, with
the inputs X, W, B, Z, of which B and Z may be left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .graph import Graph, Node

#: Operator of the merged nodes; no file has one of this name.
FUSED_CONV = "fastface:FusedConv"
#: Attributes of a convolution that are read here; one with others is left as it is.
_READ = frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"})


def fuse_convolutions(graph: Graph) -> Graph:
    """A graph whose convolutions do what follows them too.

    Args:
        graph: Batch norms are folded already.

    Returns:
        Every convolution of constant weights and as much padding on both sides is a `FUSED_CONV`.
        What follows it alone is part of it: an addition of something that is worked out too, then
        `Relu`, or where nothing is added `Clip` with constant limits or `LeakyRelu`.
    """
    uses = graph.uses()
    readers: dict[str, list[int]] = defaultdict(list)
    for place, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers[name].append(place)
    merged: dict[int, Node] = {}
    gone: set[int] = set()
    for place, node in enumerate(graph.nodes):
        if not _can_be_fused(node, graph.constants):
            continue
        last, fused = place, replace(node, op=FUSED_CONV)
        for take in (_with_addition, _with_activation):
            follower = readers[fused.outputs[0]]
            if uses[fused.outputs[0]] != 1 or not follower:
                break
            if follower[0] in merged or follower[0] in gone:
                break  # another convolution took it
            wider = take(fused, graph.nodes[follower[0]], graph)
            if wider is not None:
                gone.add(last)
                last, fused = follower[0], wider
        merged[last] = fused
    nodes = [merged.get(place, node) for place, node in enumerate(graph.nodes) if place not in gone]
    return replace(graph, nodes=tuple(nodes))


def _can_be_fused(node: Node, constants: Mapping[str, np.ndarray]) -> bool:
    if node.op != "Conv" or not node.attributes.keys() <= _READ:
        return False
    if any(name not in constants for name in node.inputs[1:] if name):
        return False
    top, left, bottom, right = node.attributes.get("pads", (0, 0, 0, 0))
    is_padded_evenly = top == bottom and left == right
    is_unpadded = node.attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return is_padded_evenly and is_unpadded and constants[node.inputs[1]].ndim == 4


def _with_addition(conv: Node, follower: Node, graph: Graph) -> Node | None:
    if follower.op != "Add":
        return None
    others = [name for name in follower.inputs if name != conv.outputs[0]]
    # Constants are rarely of the features' own shape.
    if len(others) != 1 or others[0] in graph.constants:
        return None
    image, weight, *bias = conv.inputs
    inputs = (image, weight, bias[0] if bias else "", others[0])
    return replace(conv, inputs=inputs, outputs=follower.outputs)


def _with_activation(conv: Node, follower: Node, graph: Graph) -> Node | None:
    adds = len(conv.inputs) > 3
    if follower.op == "Relu":
        activation: dict[str, object] = {"activation": "Relu"}
    elif follower.op == "LeakyRelu" and not adds:
        slope = float(follower.attributes.get("alpha", 0.01))
        activation = {"activation": "LeakyRelu", "activation_params": [slope]}
    elif follower.op == "Clip" and not adds and (limits := _limits(follower, graph)):
        activation = {"activation": "Clip", "activation_params": limits}
    else:
        return None
    return replace(conv, attributes={**conv.attributes, **activation}, outputs=follower.outputs)


def _limits(clip: Node, graph: Graph) -> list[float] | None:
    """Both limits of a `Clip`; None where it has not both as constants."""
    if graph.opset < 11:
        given = [clip.attributes.get("min"), clip.attributes.get("max")]
    else:
        given = [graph.constants.get(name) for name in clip.inputs[1:] if name]
    if len(given) != 2 or any(limit is None for limit in given):
        return None
    return [float(np.asarray(limit).reshape(-1)[0]) for limit in given]
