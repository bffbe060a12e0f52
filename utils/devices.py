"""What torch can compute on here."""

from __future__ import annotations

import torch


def torch_devices() -> tuple[str, ...]:
    """Device types torch offers on this machine, fastest first, `cpu` last.

    ROCm cards answer to `cuda`, as everywhere in torch. Asking creates no CUDA context.
    """
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found.append("xpu")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def widest_float(device: torch.device | str) -> torch.dtype:
    """The most exact floating type of a device: float64, but float32 on MPS, which has no more."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def half_is_faster(device: str) -> bool:
    """Whether a device computes in half precision much faster than in single precision.

    So do NVIDIA's cards since Volta and AMD's since Vega, which have matrix units for it; of others
    it is not known here.
    """
    word, _, index = device.partition(":")
    if word != "cuda" or int(index or 0) >= torch.cuda.device_count():
        return False
    return torch.cuda.get_device_capability(int(index or 0)) >= (7, 0)


def uploaded(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, without waiting for what the device is doing."""
    # What is copied from ordinary memory to CUDA has left it when this returns; other devices
    # don't promise that.
    return tensor.to(device, non_blocking=device.type == "cuda")
