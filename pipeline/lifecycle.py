"""What is loaded, and how to load ahead and let go: for nodes, routes and scripts."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any

from ..backends.residency import model_registry
from ..backends.residency.evictable_model import EvictableModel, HoldsNetworks
from ..backends.residency.model_registry import LoadedModel
from ..utils import host
from ..utils.errors import FastFaceError, ProcessEnding
from ..utils.settings import settings_or_defaults
from ..utils.shutdown import start_thread
from .choices import AUTO
from .loading import load_face_analysis

__all__ = ["LoadedModel", "loaded", "preload", "preload_if_wanted", "unload"]

_log = logging.getLogger("FastFace")


def loaded() -> list[LoadedModel]:
    """The models in memory, by pack and task."""
    return model_registry.loaded()


def unload(pack: str | None = None) -> int:
    """Lets models go at once; those that are running go when they are done.

    They come back with the next call that needs them.

    Args:
        pack: Name of the pack whose models go; None for all.

    Returns:
        How many went.
    """
    return model_registry.drop(
        [model for model in model_registry.models() if pack is None or model.name.pack == pack]
    )


def preload(
    pack: str = AUTO, *, backend: str = AUTO, device: str = AUTO, precision: str = AUTO
) -> list[LoadedModel]:
    """Brings every model of a pack into memory, so that no later call waits for it.

    Args:
        pack, backend, device, precision: As the loader's inputs of these names.

    Returns:
        Those of them that are in memory now: the last ones may have pushed the first ones out.

    Raises:
        InvalidInput: A value is not one of the loader's.
        ModelError: The pack is not there, or damaged.
        BackendUnavailable: It can't run as asked.
        ProcessEnding: The process is ending; asked between models.
    """
    face_analysis = load_face_analysis(
        model_pack=pack,
        backend=backend,
        device=device,
        precision=precision,
        extra_roots=host.insightface_roots(),
    )
    networks: dict[EvictableModel[Any], None] = {}
    for task in face_analysis.models:
        model = face_analysis.analyzer.model(task)
        if isinstance(model, HoldsNetworks):
            # Opened before, it may have been released since.
            for network in model.networks:
                network.bring_back()
                networks[network] = None
    return [status for network in networks if (status := network.status()) is not None]


def preload_if_wanted() -> threading.Thread | None:
    """Opens the packs that the settings name, in a thread of its own.

    Returns:
        The thread; None where the settings name no pack, or none can be started.
    """
    packs = settings_or_defaults().preload
    if not packs:
        return None
    return start_thread(partial(_preload_all, packs), "FastFace preload")


def _preload_all(packs: tuple[str, ...]) -> None:
    for pack in packs:
        try:
            preload(pack)
        except ProcessEnding:
            return
        except FastFaceError as error:
            _log.error("pack %r is not preloaded: %s", pack, error)
        except Exception:  # noqa: BLE001  whatever one pack raises, the others are loaded
            _log.exception("pack %r is not preloaded", pack)
