"""Bytes that a call copies from a GPU to the host, whoever copies them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_TO_HOST = "Memcpy DtoH"


def bytes_to_host(call: Callable[[], Any], device: torch.device) -> dict[str, int] | None:
    """Copies from device to host while a call runs, ONNX Runtime's included.

    Args:
        call: Called once.
        device: Where it computes.

    Returns:
        `total`, `largest` (one copy) and `copies`; None where there is no such copy to count (the
        CPU) or no way to count it (devices other than CUDA).
    """
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        call()
        torch.cuda.synchronize(device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(file))
        return count_copies(json.loads(file.read_text(encoding="utf-8")))


def count_copies(trace: Mapping[str, Any]) -> dict[str, int]:
    """The copies from device to host in a Chrome trace of torch's profiler."""
    sizes = [
        int(event.get("args", {}).get("bytes", 0))
        for event in trace.get("traceEvents", ())
        if str(event.get("name", "")).startswith(_TO_HOST)
    ]
    return {"total": sum(sizes), "largest": max(sizes, default=0), "copies": len(sizes)}
