"""The least time the networks can take: their operations over what the device can do."""

from __future__ import annotations

import time

import torch

from ..backends.onnx_graphs.graph import graph_of, read_model
from ..backends.onnx_graphs.network import Network
from ..utils.packs import ModelFile
from .timing import synchronise

#: Precisions in which a whole network runs; for `mixed` there is no one rate.
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
#: Large enough to be bound by arithmetic, small enough to be over soon.
_SIDE_ON_CPU, _SIDE_ON_GPU = 1024, 8192
#: The best of many counts: a floor that others' work has raised would be none.
_RATE_ROUNDS = 40


def has_rate(precision: str) -> bool:
    """Whether there is a roofline in a precision."""
    return precision in _DTYPES


def operations(model: ModelFile, size_wh: tuple[int, int]) -> int:
    """Multiplications and additions of a network for one image, in convolutions and products.

    Args:
        model: An ONNX graph; it is run once on the CPU, with torch counting.
        size_wh: Input size in pixels.

    Raises:
        BackendUnavailable: The onnx package is missing.
        ModelError: The graph can't be read or run.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = Network(graph_of(read_model(model.path), model.path.name)).eval()
    width, height = size_wh
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, height, width))
    return counter.get_total_flops()


def matmul_rate(device: torch.device, precision: str) -> float:
    """Operations a second that a device reaches in a product of large square matrices.

    fp32 is measured without TF32, as the networks run.
    """
    side = _SIDE_ON_CPU if device.type == "cpu" else _SIDE_ON_GPU
    dtype = _DTYPES[precision]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_RATE_ROUNDS + 2):  # the first two warm up
        synchronise(device)
        start = time.perf_counter()
        torch.matmul(left, right)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds[2:])
