"""The machine that figures are from, and whether it was quiet while they were taken."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

#: Packages whose versions belong to a result, where they are installed.
_PACKAGES = (
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
)
#: Share of the machine's processors that others may take, and the virtual machine's host.
_QUIET_OTHERS, _QUIET_STEAL = 0.10, 0.02
#: Quartiles of one contestant this far apart, over the median, are noise.
_QUIET_SPREAD = 0.20
_THROTTLE_COUNTS = "/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"
#: Reasons of NVIDIA's driver for a lower clock that are about heat or power, not about idling.
_GPU_SLOWDOWNS = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def describe_machine() -> dict[str, Any]:
    """Hardware and system, as people would name them."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cores": len(psutil.Process().cpu_affinity())  # type: ignore[union-attr]
        if hasattr(psutil.Process(), "cpu_affinity")
        else psutil.cpu_count() or 1,
        "ram_gb": round(psutil.virtual_memory().total / 2**30),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that matter, and of `distributions`, as far as installed."""
    found = {}
    for name in dict.fromkeys((*_PACKAGES, *distributions)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if name:
            return name[1]
    return platform.processor() or platform.machine()


class NoiseWatch:
    """Looks at the machine from when it is made until it is asked."""

    def __init__(self) -> None:
        # Workers that end in between take their times along: those are reported by `finished`.
        self._own_seconds = 0.0
        self._before = psutil.cpu_times()
        self._throttled = _throttle_count()
        self._own_before = _own_cpu_seconds()

    def finished(self, cpu_seconds: float) -> None:
        """A process of ours ended, having used so much of the processors."""
        self._own_seconds += cpu_seconds

    def reasons(self, spreads: Mapping[str, float]) -> list[str]:
        """What made the machine noisy, one sentence each; empty when it was quiet.

        Args:
            spreads: Of each contestant, the distance of the quartiles over the median.
        """
        found = []
        now = psutil.cpu_times()
        whole = (
            sum(now[:8]) - sum(self._before[:8]) if len(now) >= 8 else sum(now) - sum(self._before)
        )
        idle = _idle(now) - _idle(self._before)
        own = self._own_seconds + _own_cpu_seconds() - self._own_before
        others = max(0.0, whole - idle - own) / whole if whole > 0 else 0.0
        if others > _QUIET_OTHERS:
            found.append(f"other programs took {others:.0%} of the processors")
        steal = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        if whole > 0 and steal / whole > _QUIET_STEAL:
            found.append(f"the virtual machine's host took {steal / whole:.0%} of the processors")
        throttled = _throttle_count() - self._throttled
        if throttled > 0:
            found.append(f"the processors were slowed down for heat {throttled} times")
        if _gpu_slowed_down():
            found.append("the GPU's clock was lowered for heat or power")
        wide = {name: spread for name, spread in spreads.items() if spread > _QUIET_SPREAD}
        if wide:
            worst = max(wide, key=lambda name: wide[name])
            found.append(
                f"{len(wide)} of {len(spreads)} rows have quartiles more than {_QUIET_SPREAD:.0%} "
                f"apart, {worst} {wide[worst]:.0%}"
            )
        return found


def _idle(times: Any) -> float:
    return times.idle + getattr(times, "iowait", 0.0)


def _own_cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def _throttle_count() -> int:
    files: Sequence[Path] = sorted(Path("/").glob(_THROTTLE_COUNTS.lstrip("/")))
    return sum(int(file.read_text()) for file in files)


def _gpu_slowed_down() -> bool:
    if not torch.cuda.is_available():
        return False
    for field in ("clocks_event_reasons.active", "clocks_throttle_reasons.active"):
        try:
            answer = subprocess.run(
                ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        masks = re.findall(r"0x[0-9a-fA-F]+", answer.stdout)
        if masks:
            return any(int(mask, 16) & _GPU_SLOWDOWNS for mask in masks)
    return False
