"""Backend `torch`: the pack's ONNX graphs executed natively in torch, on any device it has."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from ..utils.cores import why_not_native
from ..utils.devices import Device, DeviceWord, half_is_faster, torch_devices
from ..utils.modules import has_module
from ..utils.packs import ModelFile
from ..utils.precision import Precision
from ..utils.settings import settings
from .base import GraphBackend
from .interfaces import Session
from .onnx_graphs.batched import batched_graph
from .onnx_graphs.folded_weights import folded_graph
from .onnx_graphs.fuse_convolutions import fuse_convolutions
from .onnx_graphs.network import Network
from .onnx_graphs.onednn_convolution import pack_weights, why_not_onednn
from .placement import Placement, RunsOn, placed_in_torch
from .sessions.open_batched import open_batched
from .sessions.torch_session import TorchSession

_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


class TorchBackend(GraphBackend):
    """Needs no onnxruntime: whatever runs torch runs the networks, ROCm, MPS and XPU included."""

    name = "torch"
    explains_missing_devices = True
    input_format = torch.channels_last

    def why_unavailable(self) -> str | None:
        if not has_module("onnx"):
            return "onnx is not installed; run `python install.py` in the pack's folder"
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        return () if self.why_unavailable() else torch_devices()

    def precisions(self, device: str) -> tuple[Precision, ...]:
        # `fp16` throughout swaps faces of almost equal score; `mixed` keeps faces and order, and
        # embeddings to a cosine of 0.9999.
        if half_is_faster(device):
            return ("mixed", "fp32", "fp16", "bf16")
        return ("fp32", "mixed", "fp16", "bf16")

    def proven_precisions(self, device: str) -> tuple[Precision, ...]:
        # On GPUs it is what users choose; on CPUs of no such instructions it is slower than fp32.
        is_native = Device.parse(device).word == "cpu" and why_not_native("bf16") is None
        return ("bf16",) if is_native else ()

    def engine_version(self) -> str:
        return torch.__version__

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Loads one graph.

        Raises:
            BackendUnavailable: torch does not have the device, and `strict` is asked for.
            ModelError: The file is damaged, or has an operator that is not supported.
        """
        device, fallback = placed_in_torch(self.name, placement)
        precision = placement.precision_of(model.task)
        dtype = _DTYPES[precision]
        compiles = settings().torch_compile
        # In fp32 it gains nothing, and answers would differ in the last digit.
        fuses = device.type == "cpu" and dtype == torch.bfloat16 and not compiles
        fuses = fuses and why_not_onednn() is None

        def open_graph(path: Path, note: str) -> TorchSession:
            notes = "; ".join(text for text in (fallback, note) if text)
            runs_on = RunsOn(str(device), f"torch {precision}", 1.0, notes)
            graph = folded_graph(path, model.path.name)
            network = Network(fuse_convolutions(graph) if fuses else graph).eval()
            network.to(device, dtype)
            if fuses:
                pack_weights(network)
            return TorchSession(network, device, dtype, runs_on, compiles=compiles)

        return open_batched(model, partial(batched_graph, model), open_graph)
