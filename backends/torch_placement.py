"""Where in torch a model goes, and what is said when that is not where it was wanted."""

from __future__ import annotations

import logging
from functools import cache

import torch

from ..utils.devices import Device, torch_devices
from ..utils.errors import BackendUnavailable
from .placement import Placement

_log = logging.getLogger("FastFace")


def placed_in_torch(backend: str, placement: Placement) -> tuple[torch.device, str]:
    """The device to use, and why it is not the one that was asked for; empty if it is.

    Raises:
        BackendUnavailable: The device is not there, and `strict` is asked for.
    """
    asked = Device.parse(placement.device)
    there = torch_devices()
    is_beyond = asked.word == "cuda" and asked.number >= torch.cuda.device_count()
    if asked.word in there and not is_beyond:
        return torch.device(placement.device), ""
    note = (
        f"{backend} was asked for {placement.device}, and torch {torch.__version__} has only "
        f"{', '.join(there)} here; install a torch for that device, or choose another"
    )
    if placement.strict:
        raise BackendUnavailable(note)
    _warn_once(note)
    return torch.device("cpu"), note


@cache
def _warn_once(note: str) -> None:
    """A pack has several models and one reason."""
    _log.warning("%s", note)
