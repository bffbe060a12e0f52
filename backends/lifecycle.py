"""What is loaded, and how to load ahead and let go: for nodes, routes and scripts."""

from __future__ import annotations

import logging
import threading

from ..utils import host
from ..utils.errors import FastFaceError
from ..utils.settings import settings_or_defaults
from .choices import AUTO
from .loading import load_face_analysis
from .memory import residents
from .memory.residents import LoadedModel

__all__ = ["LoadedModel", "loaded", "preload", "preload_if_wanted", "unload"]

_log = logging.getLogger("FastFace")


def loaded() -> list[LoadedModel]:
    """The models in memory, by pack and task."""
    return residents.loaded()


def unload(pack: str | None = None) -> int:
    """Lets models go at once; those that are running go when they are done.

    They come back with the next call that needs them.

    Args:
        pack: Name of the pack whose models go; None for all.

    Returns:
        How many went.
    """
    return residents.drop(
        [model for model in residents.models() if pack is None or model.name.pack == pack]
    )


def preload(
    pack: str = AUTO, *, backend: str = AUTO, device: str = AUTO, precision: str = AUTO
) -> list[LoadedModel]:
    """Opens every model of a pack, so that no later call waits for it.

    Args:
        pack, backend, device, precision: As the loader's inputs of these names.

    Returns:
        The models of the pack that are in memory now.

    Raises:
        InvalidInput: A value is not one of the loader's.
        ModelError: The pack is not there, or damaged.
        BackendUnavailable: It can't run as asked.
    """
    face_analysis = load_face_analysis(
        model_pack=pack,
        backend=backend,
        device=device,
        precision=precision,
        extra_roots=host.insightface_roots(),
    )
    for task in face_analysis.models:
        face_analysis.analyzer.model(task)
    name = face_analysis.analyzer.pack.name
    return [model for model in loaded() if model.pack == name]


def preload_if_wanted() -> threading.Thread | None:
    """Opens the packs that the settings name, in a thread of its own; None if they name none."""
    packs = settings_or_defaults().preload
    if not packs:
        return None
    thread = threading.Thread(target=_preload_all, args=(packs,), name="FastFace preload")
    thread.daemon = True
    thread.start()
    return thread


def _preload_all(packs: tuple[str, ...]) -> None:
    for pack in packs:
        try:
            preload(pack)
        except FastFaceError as error:
            _log.error("pack %r is not preloaded: %s", pack, error)
