"""Where galleries lie: a folder each, in `models/fastface/galleries` of ComfyUI."""

from __future__ import annotations

from pathlib import Path

from .. import host
from ..names import require_file_name
from .gallery_store import GalleryStore


def galleries_folder() -> Path:
    """The folder of all galleries; it may not be there."""
    return host.models_folder() / "fastface" / "galleries"


def gallery_names() -> list[str]:
    """The names of the galleries that are there, in their order."""
    try:
        folders = sorted(galleries_folder().iterdir())
    except OSError:
        return []
    return [folder.name for folder in folders if GalleryStore(folder).exists()]


def gallery_store(name: str) -> GalleryStore:
    """The gallery of a name, whether or not it is there yet.

    Raises:
        InvalidInput: No folder can have that name on every system.
    """
    return GalleryStore(galleries_folder() / require_file_name(name, "", "a gallery"))
