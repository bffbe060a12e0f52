"""Analyzers that are shared: the same pack, backend and placement are loaded once."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from ..utils.packs import ModelPack
from .analyzer import Analyzer
from .base import Backend
from .placement import Placement

_analyzers: LRUCache = LRUCache(maxsize=4)
_lock = threading.Lock()


def shared_analyzer(pack: ModelPack, backend: Backend, placement: Placement) -> Analyzer:
    """The analyzer for this pack, backend and placement; made when there is none yet.

    The last four stay loaded even when nothing uses them, so that switching back and forth between
    two packs loads each once.
    """
    key = (pack, backend.name, backend.parameters, placement)
    with _lock:
        if key not in _analyzers:
            _analyzers[key] = Analyzer(pack, backend, placement)
        return _analyzers[key]


def forget_analyzers() -> None:
    """Lets go of all shared analyzers; those still in use live as long as their users."""
    with _lock:
        _analyzers.clear()
