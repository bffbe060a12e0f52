"""Opens engines of the engine folder as sessions."""

from __future__ import annotations

import torch

from ...utils.packs import ModelFile
from ...utils.packs.graph_header import read_graph_header
from ...utils.settings import settings
from ..interfaces import Session
from ..placement import RunsOn
from ..sessions.trt_session import TrtSession
from ..sessions.unbatched_adapter import UnbatchedAdapter
from .engines import EngineKey, EngineStore
from .library import Library


def open_engine(
    library: Library,
    store: EngineStore,
    key: EngineKey,
    device: torch.device,
    model: ModelFile,
    note: str = "",
) -> Session:
    """Reads an engine and opens it.

    Args:
        library: The one that built it.
        store: Where it is.
        key: Which one.
        device: The CUDA device.
        model: What it was built of.
        note: What users should know about it.

    Raises:
        DamagedFile: It is not whole.
        BackendUnavailable: The library does not take it here.
    """
    header = model.header or read_graph_header(model.path)
    session = TrtSession(
        library,
        store.load(key),
        device,
        RunsOn(str(device), f"{library} {key.precision}", 1.0, note),
        key.file_name,
        tuple(output.name for output in header.outputs),
        settings().tensorrt_cuda_graphs,
    )
    return session if key.takes_batches else UnbatchedAdapter(session, model)
