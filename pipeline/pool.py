"""Analyzers that are shared: the same weights, backend and placement are loaded once."""

from __future__ import annotations

import logging
import threading

from cachetools import LRUCache

from ..backends.base import Backend
from ..backends.placement import Placement
from ..utils.packs import ModelPack
from .analyzer import Analyzer

_analyzers: LRUCache = LRUCache(maxsize=4)
_lock = threading.Lock()

_log = logging.getLogger("FastFace")


def shared_analyzer(pack: ModelPack, backend: Backend, placement: Placement) -> Analyzer:
    """The analyzer for this pack, backend and placement; made when there is none yet.

    One of a pack whose files have another content now makes way for a new one, and goes on for
    those who have it. The last four stay loaded even when nothing uses them, so that switching back
    and forth between two packs loads each once.

    Raises:
        ModelError: A file that was loaded before can't be read.
    """
    detector = pack.detector and (
        pack.model("detection").path,
        pack.detector.landmarks_from is not None,
    )
    key = (pack.name, pack.folder, detector, backend.name, backend.parameters, placement)
    while True:
        with _lock:
            known = _analyzers.get(key)
        # Outside of the lock: files may have to be read to compare them.
        if known is not None and known.takes_over(pack):
            return known
        with _lock:
            if _analyzers.get(key) is known:
                _analyzers[key] = Analyzer(pack, backend, placement)
                return _analyzers[key]


def renewed(analyzer: Analyzer) -> Analyzer:
    """The analyzer of the files that are there now, in place of one whose files were replaced.

    Raises:
        ModelError: The pack is not there any more, or nothing in it is usable.
    """
    pack = analyzer.backend.reread(analyzer.pack)
    new = shared_analyzer(pack, analyzer.backend, analyzer.placement)
    if new is not analyzer and analyzer.retire():
        _log.warning(
            "model files of pack %r in %s were replaced: it goes on with the new ones, and "
            "embeddings of the old weights can't be compared with theirs",
            pack.name,
            pack.folder,
        )
    return new


def forget_analyzers() -> None:
    """Lets go of all shared analyzers; those still in use live as long as their users."""
    with _lock:
        _analyzers.clear()
