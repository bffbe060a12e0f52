"""Graphs without what ONNX Runtime is slow at on x86: rewritten once, proved, kept on disk."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from ...utils.cores import is_x86
from ...utils.packs import ModelFile
from .batch_axis import image_shape
from .batched import BatchedGraph, why_different
from .cache_entries import Entry
from .decompose_prelu import write_out_prelu
from .equivalence import Untried, prover
from .graph import read_model
from .graph_cache import PASSING_TROUBLE, NewFile, Unfit, graph_cache, in_one_line

_log = logging.getLogger("FastFace")

_PART = "onnx"


def tuned_graph(prepared: BatchedGraph, model: ModelFile) -> BatchedGraph:
    """A graph for ONNX Runtime on the CPU, made now or found in the cache.

    It is used only after its answers were those of `prepared`, which is given back where they were
    not, where there is nothing to gain, and on processors other than x86, where nobody tried it.

    Args:
        prepared: The graph.
        model: What it was made of.

    Raises:
        ModelError: The file is damaged, or nothing here can run it.
        BackendUnavailable: It has to be rewritten, and the onnx package is not installed.
    """
    if not is_x86():
        return prepared

    def make(new_file: NewFile) -> dict[str, Any]:
        graph = read_model(prepared.path)
        if not write_out_prelu(graph):
            return {}
        shape = [dim.dim_value or None for dim in image_shape(graph)]
        rewritten = new_file(_PART)
        rewritten.write_bytes(graph.SerializeToString())
        del graph  # two others, of 260 MB each perhaps, are about to be opened
        reason = why_different(prepared.path, rewritten, model, shape)
        if reason:
            _log.debug("%s is run as it is: %s", model.path.name, reason)
            raise Unfit(reason)
        return {}

    def read(entry: Entry) -> BatchedGraph:
        # Without a file there was nothing to gain, or it was unfit.
        return replace(prepared, path=entry.files.get(_PART, prepared.path))

    try:
        return graph_cache().obtain(
            "cpu_optimized",
            prepared.path,
            model.path.name,
            make,
            read,
            input_dtype=model.input_dtype,
            proved_by=prover(),
        )
    except (*PASSING_TROUBLE, Untried) as error:
        _log.log(
            logging.INFO if isinstance(error, Untried) else logging.WARNING,
            "%s runs on the CPU as it is, which is slower: it can't be optimised (%s); it is tried "
            "again next time",
            model.path.name,
            in_one_line(error),
        )
        return prepared
