"""Graphs without what ONNX Runtime is slow at on x86: rewritten once, proved, kept on disk."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import replace
from pathlib import Path

from ...utils import host
from ...utils.cores import is_x86
from ...utils.files import replacing, write_whole
from ...utils.packs import ModelFile
from ...utils.packs.checksums import content_sha256
from .batch_axis import image_shape
from .graph import read_model
from .plain_prelu import write_out_prelu
from .prepared import PreparedGraph, why_different

_log = logging.getLogger("FastFace")
_lock = threading.Lock()

#: Part of the cached files' names; raised when the rewriting changes.
VERSION = 1


class _Unfit(Exception):
    """The rewritten graph can't take the place of the original; the message says why."""


def tuned_graph(prepared: PreparedGraph, model: ModelFile) -> PreparedGraph:
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
    with _lock:
        name = f"{content_sha256(prepared.path)[:32]}-t{VERSION}"
        folder = host.cache_folder() / "graphs"
        tuned, refusal = folder / f"{name}.onnx", folder / f"{name}.txt"
        if not tuned.is_file() and not refusal.is_file():
            reason = _write_tuned(prepared, model, tuned)
            if reason:
                _log.debug("%s is run as it is: %s", model.path.name, reason)
                with contextlib.suppress(OSError):  # then it is found out again next time
                    write_whole(refusal, reason.encode())
        return replace(prepared, path=tuned) if tuned.is_file() else prepared


def _write_tuned(prepared: PreparedGraph, model: ModelFile, target: Path) -> str | None:
    """Writes the rewritten graph, or says why it is not to be used."""
    graph = read_model(prepared.path)
    if not write_out_prelu(graph):
        return "there is nothing to gain"
    shape = [dim.dim_value or None for dim in image_shape(graph)]
    try:
        with replacing(target) as beside:
            beside.write_bytes(graph.SerializeToString())
            del graph  # two others, of 260 MB each perhaps, are about to be opened
            reason = why_different(prepared.path, beside, model, shape)
            if reason:
                raise _Unfit(reason)
    except _Unfit as error:
        return str(error)
    except OSError as error:
        return f"{target} can't be written ({error})"
    return None
