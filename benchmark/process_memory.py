"""Memory that a contestant's process takes, in main memory and on the GPU."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import torch

from ..utils.free_memory import resident_bytes

_STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int:
    """The most this process had; where the system does not keep it (macOS), what it has now."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset
    if _STATUS.is_file():
        # Not getrusage: its peak is inherited from the process that started this one.
        high = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
        if high:
            return int(high[1]) * 1024
    return memory.rss


class MemoryUse:
    """What was added since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resident = resident_bytes()
        self._free = self._gpu_free()

    def _gpu_free(self) -> int | None:
        return torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else None

    def added(self) -> dict[str, int | None]:
        """`ram_bytes`: peak over before. `vram_bytes`: taken from the card by anyone since.

        `vram_torch_peak_bytes`: the most that torch's tensors took, without its cache and without
        what other libraries took. Both None where the device is no CUDA device.
        """
        free = self._gpu_free()
        on_gpu = free is not None and self._free is not None
        return {
            "ram_bytes": max(0, peak_resident_bytes() - self._resident),
            "vram_bytes": max(0, self._free - free) if on_gpu else None,  # type: ignore[operator]
            "vram_torch_peak_bytes": (
                torch.cuda.max_memory_allocated(self._device) if on_gpu else None
            ),
        }
