"""float32 that is float32: NVIDIA's cards may cut it to 10 bits of mantissa, as TF32."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_lock = threading.Lock()
_holders = 0
_before: list[tuple[Any, str, Any]] = []


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """While it lasts, convolutions and matrix products on CUDA keep all bits of float32.

    The settings are the process's; they are as before once the last thread has left.
    """
    global _holders
    with _lock:
        _before.extend(_switched_off())
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _put_back()


def _switched_off() -> Iterator[tuple[Any, str, Any]]:
    """Switches TF32 off where it is on; what was switched, and how it stood."""
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        # Since torch 2.9; whoever mixes these settings with the older ones gets errors.
        name, exact, off = "fp32_precision", ("ieee", "none"), "ieee"
        owners = (backends.cudnn.conv, backends.cuda.matmul)
    else:
        name, exact, off = "allow_tf32", (False,), False
        owners = (backends.cudnn, backends.cuda.matmul)
    for owner in owners:
        before = getattr(owner, name)
        if before not in exact:
            setattr(owner, name, off)
            yield owner, name, before


def _put_back() -> None:
    while _before:
        owner, name, before = _before.pop()
        if name == "fp32_precision":
            # First as if never set: what came from a setting above it is to come from there again.
            setattr(owner, name, "none")
        if getattr(owner, name) != before:
            setattr(owner, name, before)
