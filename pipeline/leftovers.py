"""What killed processes left in the folders that the pack writes to; cleared when it starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ..backends.facenet_networks.embedding_weights import EMBEDDING_WEIGHTS, weight_folders
from ..utils import host
from ..utils.download.fetch import clear_killed_download, clear_killed_file
from ..utils.errors import FileError
from ..utils.packs.find import pack_roots
from ..utils.packs.known import KNOWN_PACKS
from ..utils.unfinished import clear_leftovers
from .insightface_compat.face_model import face_models_folder

_log = logging.getLogger("FastFace")


def clear_all_leftovers() -> None:
    """Removes unfinished files and folders, and downloads that nobody can go on with.

    What another process is working on stays, and so does the part of a download that the next one
    goes on from. Folders that are missing are not made.
    """
    for folder in _written_folders():
        clear_leftovers(folder)
    roots = pack_roots(host.insightface_roots())
    try:
        for root in roots:
            for known in KNOWN_PACKS.values():
                clear_killed_download(known, root)
        for folder in weight_folders():
            for weights in EMBEDDING_WEIGHTS.values():
                clear_killed_file(weights.url, folder / weights.file_name)
    except FileError as error:
        _log.warning("what a killed download left stays: %s", error)


def _written_folders() -> Iterator[Path]:
    for own in (*host.cache_folders(), host.models_folder() / "fastface"):
        for place, _, _ in os.walk(own):
            yield Path(place)
    yield face_models_folder()
    yield from pack_roots(host.insightface_roots())
    yield from weight_folders()
