"""The ComfyUIs that the tests run in, as the environment names them.

COMFYUI_PATH names a checkout, or several separated as in PATH (`:`, on Windows `;`).
COMFYUI_PYTHON names the interpreter that has ComfyUI's requirements: one for all checkouts, or one
for each in the same order (default: that of the tests).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Installation:
    """A ComfyUI checkout and the interpreter that runs it."""

    checkout: Path
    python: str

    def __str__(self) -> str:
        """Its version, or the name of its folder where it tells none."""
        file = self.checkout / "comfyui_version.py"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        match = re.search(r"__version__ = \"(.+)\"", text)
        return match.group(1) if match else self.checkout.name


def installations(environment: Mapping[str, str] = os.environ) -> list[Installation]:
    """The installations that an environment names.

    Raises:
        ValueError: A checkout has no main.py, or there are neither one nor as many interpreters.
    """
    checkouts = _paths(environment.get("COMFYUI_PATH", ""))
    if not checkouts:
        return []
    pythons = _paths(environment.get("COMFYUI_PYTHON", "")) or [sys.executable]
    for checkout in checkouts:
        if not (Path(checkout) / "main.py").is_file():
            raise ValueError(f"COMFYUI_PATH names {checkout!r}, where there is no main.py")
    if len(pythons) == 1:
        pythons *= len(checkouts)
    if len(pythons) != len(checkouts):
        raise ValueError(
            f"COMFYUI_PYTHON names {len(pythons)} interpreters for the {len(checkouts)} checkouts "
            f"of COMFYUI_PATH, expected one, or one for each; separate them by {os.pathsep!r}"
        )
    return [
        Installation(Path(checkout).resolve(), python)
        for checkout, python in zip(checkouts, pythons, strict=True)
    ]


def _paths(value: str) -> list[str]:
    return [path for path in value.split(os.pathsep) if path]
