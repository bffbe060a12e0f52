"""Graphs with their batch norms folded, kept in a form that is mapped into memory, not parsed.

Reading a large ONNX file holds its weights three times for a moment: in protobuf's memory, as
arrays, and in the network. The converted file is read page by page into the network alone.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.checksummed_file import DamagedFile
from .cache_entries import Entry
from .graph import Graph, Node, fold_batch_norms, graph_of, read_model
from .graph_cache import NewFile, graph_cache, in_one_line

_log = logging.getLogger("FastFace")

_PART = "safetensors"


def folded_graph(path: Path, name: str) -> Graph:
    """The graph of an ONNX file, batch norms folded; converted once, then read from the cache.

    Args:
        path: The ONNX file.
        name: Its name for messages.

    Raises:
        ModelError: The file is damaged, or has several inputs.
        BackendUnavailable: It has to be converted, and the onnx package is not installed.
    """
    if importlib.util.find_spec("safetensors") is None:
        return _folded(path, name)

    def make(new_file: NewFile) -> dict[str, Any]:
        _write(new_file(_PART), _folded(path, name))
        return {}

    def read(entry: Entry) -> Graph:
        return replace(_read(entry.files[_PART]), name=name)

    try:
        return graph_cache().obtain("folded_weights", path, name, make, read)
    except (OSError, MemoryError) as error:
        _log.warning(
            "the weights of %s can't be kept ready to load, so that loading takes more time and "
            "memory (%s); it is tried again next time",
            name,
            in_one_line(error),
        )
        return _folded(path, name)


def _folded(path: Path, name: str) -> Graph:
    return fold_batch_norms(graph_of(read_model(path), name))


def _write(path: Path, graph: Graph) -> None:
    """
    Raises:
        OSError: It can't be written.
    """
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
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "nodes": nodes,
        "opset": graph.opset,
    }
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        save_file(whole, path, {"graph": json.dumps(header)})
    except SafetensorError as error:
        raise OSError(f"{path.name} can't be written: {error}") from error


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


def _read(path: Path) -> Graph:
    """A converted graph.

    Raises:
        DamagedFile: It is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads(file.metadata()["graph"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path.name} can't be read ({error!r})") from error
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
    inputs, opset = tuple(header["inputs"]), header["opset"]
    return Graph(path.name, inputs, outputs, tuple(nodes), constants, opset)
