"""What networks compute in, and float32 that is float32.

Libraries may be allowed to cut that to 10 bits of mantissa, or to 7. On NVIDIA's cards that is
TF32; on CPUs with matrix units for bf16, and on Intel's GPUs, oneDNN does it where
`torch.set_float32_matmul_precision` or `torch.backends` say so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

#: What the networks of a pack compute in: `mixed` is fp16 for recognition and fp32 for the rest,
#: `fast` the cheapest that is proven for each. Plain strings, as users choose them and files have
#: them; the type checker refuses all other words.
Precision = Literal["fp32", "mixed", "fp16", "bf16", "int8", "fast"]

_lock = threading.Lock()


@dataclass
class _Held:
    """Who relies on the settings of a library, and how they stood before.

    Attributes:
        holders: Calls that are inside.
        before: Owner of a setting, its name, what it was.
    """

    holders: int = 0
    before: list[tuple[Any, str, Any]] = field(default_factory=list)


#: By library: what computes on CUDA, and oneDNN.
_held = {"cuda": _Held(), "onednn": _Held()}
_LIBRARIES = {"cuda": "cuda", "cpu": "onednn", "xpu": "onednn"}


@contextlib.contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """While it lasts, convolutions and matrix products keep all bits of float32.

    The settings are the process's; they are as before once the last thread has left.

    Args:
        device: Where they run. The settings of other devices are left alone.
    """
    library = _LIBRARIES.get(device.type)
    if library is None:
        yield
        return
    held = _held[library]
    with _lock:
        held.before.extend(_switched_off(library))
        held.holders += 1
    try:
        yield
    finally:
        with _lock:
            held.holders -= 1
            if not held.holders:
                _put_back(held.before)


def _switched_off(library: str) -> Iterator[tuple[Any, str, Any]]:
    """Switches short formats off where they are on; what was switched, and how it stood."""
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        # Since torch 2.9; whoever mixes these settings with the older ones gets errors.
        name, exact, off = "fp32_precision", ("ieee", "none"), "ieee"
        owners = {
            "cuda": (backends.cudnn.conv, backends.cuda.matmul),
            "onednn": (backends.mkldnn.conv, backends.mkldnn.matmul),
        }[library]
    else:
        # Before, oneDNN could only be allowed to by an environment variable.
        name, exact, off = "allow_tf32", (False,), False
        owners = (backends.cudnn, backends.cuda.matmul) if library == "cuda" else ()
    for owner in owners:
        before = getattr(owner, name)
        if before not in exact:
            setattr(owner, name, off)
            yield owner, name, before


def _put_back(settings: list[tuple[Any, str, Any]]) -> None:
    while settings:
        owner, name, before = settings.pop()
        if name == "fp32_precision":
            # First as if never set: what came from a setting above it is to come from there again.
            setattr(owner, name, "none")
        if getattr(owner, name) != before:
            setattr(owner, name, before)
