"""Graphs with their batch norms folded, kept in a form that is mapped into memory, not parsed.

Reading a large ONNX file holds its weights three times for a moment: in protobuf's memory, as
arrays, and in the network. The converted file is read page by page into the network alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...utils import host
from ...utils.files import replacing
from ...utils.packs.checksums import content_sha256
from .graph import Graph, Node, fold_batch_norms, graph_of, read_model

_log = logging.getLogger("FastFace")

#: Raised when folding or the file's layout changes, so that older files are not read.
_VERSION = 1


def converted_graph(path: Path, name: str) -> Graph:
    """The graph of an ONNX file, batch norms folded; converted once, then read from the cache.

    Args:
        path: The ONNX file.
        name: Its name for messages.

    Raises:
        ModelError: The file is damaged, or has several inputs.
        BackendUnavailable: It has to be converted, and the onnx package is not installed.
    """
    if importlib.util.find_spec("safetensors") is None:
        return fold_batch_norms(graph_of(read_model(path), name))
    key = f"{content_sha256(path)[:32]}-v{_VERSION}.safetensors"
    cached = host.cache_folder() / "weights" / key
    graph = _read(cached)
    if graph is None:
        graph = fold_batch_norms(graph_of(read_model(path), name))
        _write(cached, graph)
    return replace(graph, name=name)


def _write(path: Path, graph: Graph) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    used = graph.uses()
    arrays = {
        # Kernels in the order the network wants them: as they lie, they are its weights.
        f"kernel:{name}" if array.ndim == 4 else f"constant:{name}": (
            array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
        )
        for name, array in graph.constants.items()
        if name in used
    }
    nodes = []
    for place, node in enumerate(graph.nodes):
        plain = asdict(node)
        plain["attributes"] = _without_arrays(node.attributes, f"attribute:{place}:", arrays)
        nodes.append(plain)
    header = {
        "input": graph.input,
        "outputs": graph.outputs,
        "nodes": nodes,
        "opset": graph.opset,
    }
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # On a full or locked disk it is converted again next time.
    with contextlib.suppress(OSError, SafetensorError), replacing(path) as beside:
        save_file(whole, beside, {"graph": json.dumps(header)})


def _without_arrays(
    attributes: Mapping[str, Any], prefix: str, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Attributes as JSON has them; arrays among them go to `arrays`, under their prefixed name."""
    plain: dict[str, Any] = {}
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            arrays[prefix + name] = value
        elif isinstance(value, (str, int, float)):
            plain[name] = value
        else:
            plain[name] = [part.decode() if isinstance(part, bytes) else part for part in value]
    return plain


def _read(path: Path) -> Graph | None:
    """A converted graph; None where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads(file.metadata()["graph"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s can't be read and is made again: %s", path, error)
        return None
    nodes = []
    for place, plain in enumerate(header["nodes"]):
        prefix = f"attribute:{place}:"
        attributes = dict(plain["attributes"])
        attributes.update(
            (key.removeprefix(prefix), value)
            for key, value in arrays.items()
            if key.startswith(prefix)
        )
        inputs, outputs = tuple(plain["inputs"]), tuple(plain["outputs"])
        nodes.append(Node(plain["op"], plain["name"], inputs, outputs, attributes))
    constants = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition(":")
        if kind == "kernel":
            constants[rest] = array.transpose(0, 3, 1, 2)
        elif kind == "constant":
            constants[rest] = array
    outputs = tuple(header["outputs"])
    return Graph(path.name, header["input"], outputs, tuple(nodes), constants, header["opset"])
