"""The ComfyUI that this pack lies in, for commands that are run outside it."""

from __future__ import annotations

from pathlib import Path

_PACK_FOLDER = Path(__file__).resolve().parents[2]


def comfyui_around() -> Path | None:
    """The folder of the ComfyUI whose `custom_nodes` this pack lies in."""
    folder = _PACK_FOLDER.parent
    is_one = folder.name == "custom_nodes" and (folder.parent / "main.py").is_file()
    return folder.parent if is_one else None
