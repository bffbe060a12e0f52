"""Whether there is room for a model, found out before it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from ...utils import free_memory
from ...utils.devices import Device
from ...utils.errors import OutOfMemory
from ...utils.host import patcher
from ...utils.settings import settings
from ..placement import Placement
from . import model_registry
from .model_registry import ModelName

_log = logging.getLogger("FastFace")

#: On a card a model in the making takes its size twice: as it is read, and as it will run.
_CARD_FACTOR = 2.0


def make_room(
    name: ModelName, size_bytes: int, placement: Placement, opening_factor: float = 2.0
) -> None:
    """Sees to it that a model can be loaded, releasing those that are idle if it can't.

    Args:
        name: The model.
        size_bytes: Size of its weights.
        placement: Where it is to go.
        opening_factor: How many times its size it takes of RAM for a moment while it is opened.

    Raises:
        OutOfMemory: There is too little room even so.
    """
    need = round(opening_factor * size_bytes)
    _require(name, need, "RAM", free_memory.free_ram, torch.device("cpu"))
    device = _card(placement)
    if device is not None:
        need = round(_CARD_FACTOR * size_bytes)
        _require(name, need, f"memory of {device}", lambda: _free_on(device), device)


def _require(
    name: ModelName,
    need: int,
    kind: str,
    free: Callable[[], int],
    device: torch.device,
) -> None:
    if free() >= need:
        return
    wanted = f"{name} needs {_mb(need)} of {kind} while it is loaded"
    _log.warning("%s, and %s are free: releasing what is idle", wanted, _mb(free()))
    model_registry.drop(model_registry.models(), idle_seconds=0)
    if free() < need:
        patcher.make_room(need, device)
    if free() < need:
        raise OutOfMemory(
            f"{wanted}, and only {_mb(free())} are free with everything idle released: unload "
            "other models, close other programs, or choose a smaller model_pack or fewer heads"
        )


def _card(placement: Placement) -> torch.device | None:
    asked = Device.parse(placement.device)
    return asked.card if asked.number < torch.cuda.device_count() else None


def _free_on(device: torch.device) -> int:
    """What is free on a card, within the budget that the user gave."""
    free = free_memory.free_vram(device) or 0
    budget = settings().gpu_mem_limit
    if not budget:
        return free
    held = sum(model.size_bytes for model in model_registry.loaded() if model.device == str(device))
    return min(free, max(0, budget - held))


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
